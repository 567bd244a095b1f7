"""Checks of a service as its record and its disks tell of it: rows for doctor and for the page."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from broker.diagnostics import Row
from broker.disk_space import reserved_bytes
from broker.errors import TemporaryError
from broker.order_store import OrderStore, WorkerView
from broker.order_store.announced.workers import reasons_of
from broker.queue.names import COURIER_QUEUES, base_of


def redis_row(store: OrderStore) -> Row:
    """Return what the Redis server is, how it keeps what it is told, and how fast it answers.

    Raise `TemporaryError` where it does not answer.
    """
    began = time.monotonic()
    store.ping()
    took_ms = 1000 * (time.monotonic() - began)
    try:
        server = store.server()
    except TemporaryError as error:
        # An access list may forbid INFO and CONFIG.
        return Row("redis", "ok", f"{error.detail}, answers in {took_ms:.1f} ms")
    parts = [server.name]
    if server.is_durable:
        parts.append("append-only file")
    else:
        parts.append("NO append-only file: a restart loses orders, set appendonly yes")
    if server.evicts:
        parts.append("EVICTS keys when its memory is full: set maxmemory-policy noeviction")
    text = ", ".join([*parts, f"answers in {took_ms:.1f} ms"])
    if server.evicts or not server.is_durable:
        return Row("redis", "failed", text)
    return Row("redis", "ok", text)


def workers_row(workers: Sequence[WorkerView]) -> Row:
    """Return which workers consume which queues, and which queues nobody consumes."""
    lines = []
    consumed: set[str] = set()
    for worker in workers:
        consumed.update(worker.queues)
        # `gpu.high` is the queue `gpu` at one priority.
        queues = ",".join(queue for queue in worker.queues if "." not in queue)
        lines.append(f"{worker.name} on {queues}")
    missing = [f"nobody consumes {queue}" for queue in sorted(set(COURIER_QUEUES) - consumed)]
    if not any(base_of(queue) not in COURIER_QUEUES for queue in consumed):
        missing.append("nobody classifies")
    text = "; ".join([*lines, *missing])
    if missing:
        return Row("workers", "absent", text)
    return Row("workers", "ok", text)


def models_row(store: OrderStore, workers: Sequence[WorkerView]) -> Row:
    """Return which algorithms the workers can run, and why not the others."""
    offered: set[str] = set()
    checking: set[str] = set()
    for worker in workers:
        offered.update(worker.offered or ())
        checking.update(worker.checking)
    cards = store.cards()
    versions = [f"{name} {cards[name].version}" for name in sorted(offered) if name in cards]
    parts = [f"the workers offer {', '.join(versions) or 'none'}"]
    parts += [f"{name} is being loaded for the first time" for name in sorted(checking - offered)]
    return algorithms_row(parts, reasons_of(workers))


def algorithms_row(parts: Sequence[str], reasons: Mapping[str, str]) -> Row:
    """Return the row "models": what is said in `parts`, and why algorithms cannot be run."""
    faults = [f"{name} is unavailable: {reason}" for name, reason in reasons.items()]
    text = "; ".join([*parts, *faults])
    if faults:
        return Row("models", "failed", text)
    return Row("models", "ok", text)


def watched_rows(store: OrderStore) -> Iterator[Row]:
    """Yield a row for each watched folder: what is in it, what waits, what was refused and why.

    It names folders and files, which can hold words about patients.
    """
    for view in store.arrivals.watched():
        look = view.look
        parts = [f"{look.path}: {look.slides} slides, {look.arriving} arriving"]
        if look.policy:
            parts[0] += f", policy {look.policy}"
        faults = []
        if look.fault:
            faults.append(look.fault)
        if not view.courier:
            faults.append("no courier looks at it now")
        if view.waiting:
            path, code = next(iter(view.waiting.items()))
            faults.append(f"{len(view.waiting)} wait, such as {path}: {code}")
        if view.refused:
            path, problem = next(iter(view.refused.items()))
            faults.append(
                f"{len(view.refused)} were refused, such as {path}: {problem.get('code')}: "
                f"{problem.get('detail')}"
            )
        state: Literal["ok", "failed"] = "ok"
        if faults:
            state = "failed"
        yield Row("watch", state, "; ".join([*parts, *faults]))


def space_row(what: str, folder: Path, shown: str, *, refused: str, full: str) -> Row:
    """Return whether the folder can be written to and has room.

    `shown` is what the row calls the folder. `refused` says with the reason in {} what does not
    work where nothing can be written, `full` what does not where there is no room.
    """
    existing = _existing(folder.resolve())
    usage = shutil.disk_usage(existing)
    text = f"{shown}: {usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"1")
    except OSError as error:
        return Row(what, "failed", f"{text}, but {refused.format(error.strerror)}")
    if usage.free < reserved_bytes(usage.total):
        return Row(what, "failed", f"{text}, which is kept free: {full}")
    return Row(what, "ok", text)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
