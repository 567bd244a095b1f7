"""The log of an order as text: as it stands, or followed until the order has ended."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from broker.errors import OrderError, TemporaryError
from broker.log import one_line
from broker.order_store import OrderStore
from broker.orders.order import ENDED
from services.responses.views import rfc3339

_LOOK_EVERY_S: Final = 0.5

Entry = Mapping[str, Any]
"""A line of the log: `at`, in seconds since 1970, and `text`."""


def text_of(entries: Sequence[Entry]) -> str:
    """Return the lines of the log, each with its time."""
    return "".join(f"{rfc3339(entry['at'])} {one_line(entry['text'])}\n" for entry in entries)


async def followed(store: OrderStore, order_id: str, last: int) -> AsyncIterator[str]:
    """Yield the last lines, 0 = all that are kept, then each further line as it is written.

    Ends with the order, or where it is deleted. Where Redis is away, goes on when it is back.
    """
    known: list[dict[str, Any]] = []
    is_first = True
    while True:
        try:
            # In this order: what is written before the end is in the log that is read after it.
            order = await run_in_threadpool(store.get, order_id)
            entries = await run_in_threadpool(store.log, order_id)
        except TemporaryError:
            await asyncio.sleep(_LOOK_EVERY_S)
            continue
        except OrderError:
            return
        new = added(known, entries)
        if is_first:
            new = entries[-last:]
            is_first = False
        if new:
            yield text_of(new)
        if order.state in ENDED:
            return
        known = entries
        await asyncio.sleep(_LOOK_EVERY_S)


def added(known: Sequence[Entry], entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return what `entries` has behind what is known.

    The log keeps its newest lines only, so the oldest that are known may be gone from it.
    """
    for gone in range(len(known)):
        left = known[gone:]
        if list(entries[: len(left)]) == list(left):
            return entries[len(left) :]
    return entries
