"""Takes the bytes of one PATCH, as fast as they come and within bounds of memory and time."""

import asyncio
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from broker.errors import OrderError
from broker.uploads.writer import UploadWriter

PIECE_BYTES: Final = 2**20
"""What is held in memory of a request, and written at a time."""
IDLE_S: Final = 30.0
"""How long nothing may come."""
PIECE_WITHIN_S: Final = 600.0
"""How long a piece may take: a link of 2 kB/s is served, whatever the slide's size is."""


async def receive(
    request: Request,
    writer: UploadWriter,
    idle_s: float = IDLE_S,
    piece_within_s: float = PIECE_WITHIN_S,
) -> None:
    """Append the body to the upload, and flush it to the disk.

    What came before a fault is kept. Raise `OrderError`: `upload_too_large`, `body_too_slow`, or
    `request_malformed` where the caller left; `UploadsFullError`.
    """
    loop = asyncio.get_running_loop()
    stream = request.stream()
    held = bytearray()
    fault: OrderError | None = None
    piece_ends_at = loop.time() + piece_within_s
    while fault is None:
        try:
            async with asyncio.timeout_at(min(loop.time() + idle_s, piece_ends_at)):
                chunk = await anext(stream, None)
        except TimeoutError:
            fault = _too_slow()
            break
        except ClientDisconnect:
            fault = OrderError("request_malformed", "the body was cut off", hint="HEAD, and go on")
            break
        if chunk is None:
            break
        held += chunk
        writer.check_fits(len(held))
        if len(held) >= PIECE_BYTES:
            await loop.run_in_executor(None, writer.write, held)
            held = bytearray()
            piece_ends_at = loop.time() + piece_within_s
    await loop.run_in_executor(None, _end, writer, held)
    if fault is not None:
        raise fault


def _end(writer: UploadWriter, held: bytearray) -> None:
    writer.write(held)
    writer.sync()


def _too_slow() -> OrderError:
    return OrderError(
        "body_too_slow",
        f"nothing came for {IDLE_S:g} s, or less than {PIECE_BYTES} bytes in {PIECE_WITHIN_S:g} s",
        hint="HEAD it, and go on: what came is kept",
    )
