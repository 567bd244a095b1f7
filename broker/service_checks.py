"""Checks of a service as its record and its disks tell of it: rows for doctor and for the page."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.diagnostics import Row
from broker.disk_space import reserved_bytes
from broker.errors import TemporaryError
from broker.order_store import OrderStore, ServerView, WorkerView
from broker.order_store.announced.workers import reasons_of
from broker.order_store.arrivals import WatchedView
from broker.queue.names import COURIER_QUEUES, base_of


@dataclass(frozen=True, slots=True)
class RedisLook:
    """What Redis has told of itself: `server`, or in `fault` why an access list forbids that."""

    took_ms: float
    server: ServerView | None
    fault: str = ""


def look_at_redis(store: OrderStore) -> RedisLook:
    """Ask Redis how fast it answers and what it is. Raise `TemporaryError` without an answer."""
    began = time.monotonic()
    store.ping()
    took_ms = 1000 * (time.monotonic() - began)
    try:
        return RedisLook(took_ms, store.server())
    except TemporaryError as error:
        return RedisLook(took_ms, None, error.detail)


def redis_row(look: RedisLook) -> Row:
    """Return what the Redis server is, how it keeps what it is told, and how fast it answers."""
    answers = f"answers in {look.took_ms:.1f} ms"
    server = look.server
    if server is None:
        return Row("redis", "ok", f"{look.fault}, {answers}")
    parts = [server.name]
    if server.is_durable:
        parts.append("append-only file")
    else:
        parts.append("NO append-only file: a restart loses orders, set appendonly yes")
    if server.evicts:
        parts.append("EVICTS keys when its memory is full: set maxmemory-policy noeviction")
    text = ", ".join([*parts, answers])
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


def watched_rows(store: OrderStore, *, names_files: bool) -> Iterator[Row]:
    """Yield a row for each watched folder: what is in it, what waits, what was refused and why.

    `names_files`: name the folder, and a file of each kind, instead of counting the folders. Names
    can hold words about patients.
    """
    for number, view in enumerate(store.arrivals.watched(), 1):
        look = view.look
        what = f"watched folder {number}"
        text = f"{look.slides} slides, {look.arriving} arriving"
        if look.policy:
            text += f", policy {look.policy}"
        if names_files:
            what = "watch"
            text = f"{look.path}: {text}"
        faults = _faults_of(view, names_files=names_files)
        if not faults:
            yield Row(what, "ok", text)
            continue
        text = "; ".join([text, *faults])
        if not names_files:
            text += ": slidelane doctor names them"
        yield Row(what, "failed", text)


def _faults_of(view: WatchedView, *, names_files: bool) -> list[str]:
    faults = []
    if view.look.fault:
        fault = "not all of it can be looked at"
        if names_files:
            fault = view.look.fault
        faults.append(fault)
    if not view.courier:
        faults.append("no courier looks at it now")
    if view.waiting:
        text = f"{len(view.waiting)} wait"
        if names_files:
            path, code = next(iter(view.waiting.items()))
            text += f", such as {path}: {code}"
        faults.append(text)
    if view.refused:
        text = f"{len(view.refused)} were refused"
        if names_files:
            path, problem = next(iter(view.refused.items()))
            text += f", such as {path}: {problem.get('code')}: {problem.get('detail')}"
        faults.append(text)
    return faults


def space_row(what: str, folder: Path, shown: str, *, refused: str, full: str) -> Row:
    """Return whether the folder can be written to and has room.

    `shown` is what the row calls the folder. `refused` says with the reason in {} what does not
    work where nothing can be written, `full` what does not where there is no room.
    """
    existing = _existing(folder.resolve())
    usage = shutil.disk_usage(existing)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"1")
    except OSError as error:
        text = _free_text(shown, usage.total, usage.free)
        return Row(what, "failed", f"{text}, but {refused.format(error.strerror)}")
    return room_row(what, shown, usage.total, usage.free, full=full)


def room_row(what: str, shown: str, disk_bytes: int, free_bytes: int, *, full: str) -> Row:
    """Return whether a disk has room; `shown` and `full` as in `space_row`."""
    text = _free_text(shown, disk_bytes, free_bytes)
    if free_bytes < reserved_bytes(disk_bytes):
        return Row(what, "failed", f"{text}, which is kept free: {full}")
    return Row(what, "ok", text)


def _free_text(shown: str, disk_bytes: int, free_bytes: int) -> str:
    return f"{shown}: {free_bytes / 1e9:.1f} GB of {disk_bytes / 1e9:.1f} GB free"


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
