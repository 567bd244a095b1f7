"""Checks of the whole service: the rows of `slidelane doctor` that the API can tell of.

No row names a folder, a file or an address: they may hold words about patients, or secrets.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from broker.diagnostics import Row
from broker.errors import OrderError, TemporaryError
from broker.machine import Machine
from broker.order_store import OrderStore, QueueView, WorkerView
from broker.service_checks import models_row, room_row, space_row, watched_rows, workers_row
from broker.settings.config import Config
from services.slides.viewer_process.client import ViewerClient

_VIEWER_S: Final = 2.0


async def viewer_row(viewer: ViewerClient) -> Row:
    """Return whether slides can be looked at; orders do not need that."""
    try:
        async with asyncio.timeout(_VIEWER_S):
            await viewer.get_json("/healthz")
    except TimeoutError:
        text = f"it did not answer within {_VIEWER_S:.0f} s"
    except (OrderError, TemporaryError) as error:
        text = error.detail
    else:
        return Row("viewer", "ok", "it shows slides")
    return Row("viewer", "absent", f"{text}; slides are ordered all the same, and not shown")


def service_rows(
    store: OrderStore, workers: Sequence[WorkerView], queues: Sequence[QueueView]
) -> Iterator[Row]:
    """Yield the rows about workers, queues, algorithms and watched folders."""
    yield workers_row(workers)
    yield _queues_row(queues)
    if any(worker.offered is not None for worker in workers):
        yield models_row(store, workers)
    yield from watched_rows(store, names_files=False)


def _queues_row(queues: Sequence[QueueView]) -> Row:
    unheard = [f"{one.waiting} on {one.name}" for one in queues if one.waiting and not one.workers]
    if unheard:
        return Row("queues", "failed", f"work waits and no worker listens: {', '.join(unheard)}")
    return Row("queues", "ok", "whatever waits has workers")


def disk_rows(machines: Mapping[str, Machine]) -> Iterator[Row]:
    """Yield whether the disks of folders have room, by the settings of `broker` that name them.

    Whether workers can write there is not tried: the API may only read.
    """
    for name, machine in machines.items():
        what = f"disk of {name}"
        if machine.disk_bytes is None or machine.disk_free_bytes is None:
            yield Row(what, "failed", f"broker.{name}: it is not there, or cannot be looked at")
            continue
        yield room_row(
            what,
            f"broker.{name}",
            machine.disk_bytes,
            machine.disk_free_bytes,
            full="no slide would be fetched",
        )


def uploads_row(config: Config) -> Row:
    """Return whether the API can take slides that are sent in."""
    return space_row(
        "uploads",
        config.broker.uploads_folder,
        "broker.uploads",
        refused="no slide can be sent in there ({})",
        full="no slide is taken",
    )
