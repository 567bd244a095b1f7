"""Checks of the whole service: the rows of `slidelane doctor` that the API can tell of.

No row names a folder, a file or an address: they may hold words about patients, or secrets.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from broker.diagnostics import Row
from broker.errors import OrderError, TemporaryError
from broker.order_store import OrderStore, QueueView, WorkerView
from broker.service_checks import models_row, redis_row, space_row, workers_row
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
    config: Config,
    store: OrderStore,
    workers: Sequence[WorkerView],
    queues: Sequence[QueueView],
) -> Iterator[Row]:
    """Yield the rows about Redis, workers, queues, disks, algorithms and watched folders."""
    yield redis_row(store)
    yield workers_row(workers)
    yield _queues_row(queues)
    yield from _space_rows(config)
    if any(worker.offered is not None for worker in workers):
        yield models_row(store, workers)
    yield from _watched_rows(store)


def _queues_row(queues: Sequence[QueueView]) -> Row:
    unheard = [f"{one.waiting} on {one.name}" for one in queues if one.waiting and not one.workers]
    if unheard:
        return Row("queues", "failed", f"work waits and no worker listens: {', '.join(unheard)}")
    return Row("queues", "ok", "whatever waits has workers")


def _space_rows(config: Config) -> Iterator[Row]:
    for name, folder in zip(("data", "storage"), config.broker.folders, strict=False):
        yield space_row(
            f"disk of {name}",
            folder,
            f"broker.{name}",
            refused="nothing can be written there ({})",
            full="no slide would be fetched",
        )
    yield space_row(
        "uploads",
        config.broker.uploads_folder,
        "broker.uploads",
        refused="no slide can be sent in there ({})",
        full="no slide is taken",
    )


def _watched_rows(store: OrderStore) -> Iterator[Row]:
    for number, view in enumerate(store.arrivals.watched(), 1):
        look = view.look
        text = f"{look.slides} slides, {look.arriving} arriving"
        if look.policy:
            text += f", policy {look.policy}"
        faults = []
        if look.fault:
            faults.append("it cannot be listed")
        if not view.courier:
            faults.append("no courier looks at it now")
        if view.waiting:
            faults.append(f"{len(view.waiting)} wait")
        if view.refused:
            faults.append(f"{len(view.refused)} were refused")
        what = f"watched folder {number}"
        if faults:
            text += f"; {'; '.join(faults)}: slidelane doctor names them"
            yield Row(what, "failed", text)
        else:
            yield Row(what, "ok", text)
