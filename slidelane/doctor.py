"""`slidelane doctor`: prints one table of what an installation has and lacks.

The status is 1 where a worker lacks something. Redis and the disk are checked by this module. What
needs the libraries of a worker is checked by `worker.diagnostics.doctor` in a process of its own;
where they are not installed, as in the API's image, a row says so.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from broker.data_folder import openness
from broker.diagnostics import Row
from broker.disk_space import reserved_bytes
from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import find_server
from broker.queue.names import COURIER_QUEUES, base_of
from broker.settings.config import Config, ConfigError, load
from slidelane import container_checks
from slidelane.process import lines_of

_WORKER_CHECKS_LIMIT_S = 600.0


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "doctor", help="what this installation has and lacks; status 1 if a worker lacks it"
    )
    parser.add_argument(
        "--in-container",
        action="store_true",
        help="try it out as well: signals, time limits, a worker",
    )
    parser.add_argument("--require-gpu", action="store_true", help="fail where torch sees no GPU")
    parser.add_argument(
        "--destination",
        action="append",
        default=[],
        metavar="URL",
        help="a host to reach; repeatable",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print each row as it comes; return 1 where one failed. Raise `ConfigError`."""
    status = 0
    for row in _rows(load(), arguments):
        print(f"{row.what:<12} {row.state:<7} {row.message}", flush=True)
        if row.state == "failed":
            status = 1
    return status


def _rows(config: Config, arguments: argparse.Namespace) -> Iterator[Row]:
    yield from _redis(config, may_be_absent=arguments.in_container)
    yield _disk(config.broker.data)
    if arguments.in_container:
        yield from container_checks.run_checks()
    yield from _worker_checks(arguments)


def _redis(config: Config, *, may_be_absent: bool) -> Iterator[Row]:
    """Check Redis, and the workers that have announced themselves there."""
    try:
        store = OrderStore.connect(config.broker)
    except ConfigError as error:
        yield _no_redis(config, error, may_be_absent=may_be_absent)
        return
    try:
        began = time.monotonic()
        store.ping()
        took_ms = 1000 * (time.monotonic() - began)
        yield Row("redis", "ok", f"{_server(store)}, answers in {took_ms:.1f} ms")
        yield _workers(store)
    except TemporaryError as error:
        yield Row("redis", "failed", f"{error.detail}; see broker.redis_url")


def _no_redis(config: Config, error: ConfigError, *, may_be_absent: bool) -> Row:
    if config.broker.redis_url != "embedded":
        return Row("redis", "failed", str(error))
    try:
        binary = f"{find_server()} to start"
    except ConfigError:
        binary = "no server to start either"
    text = f"{error} (there is {binary})"
    if may_be_absent:
        return Row("redis", "absent", text)
    return Row("redis", "failed", text)


def _server(store: OrderStore) -> str:
    """Return the server's name and how it keeps what it was told."""
    try:
        server = store.server()
    except TemporaryError as error:
        # An access list may forbid INFO and CONFIG.
        return error.detail
    parts = [server.name]
    if server.is_durable:
        parts.append("append-only file")
    else:
        parts.append("NO append-only file: a power cut loses orders")
    if server.evicts:
        parts.append("EVICTS keys when its memory is full: set maxmemory-policy noeviction")
    return ", ".join(parts)


def _workers(store: OrderStore) -> Row:
    lines = []
    consumed: set[str] = set()
    for worker in store.workers():
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


def _disk(data: Path) -> Row:
    folder = _existing(data.resolve())
    usage = shutil.disk_usage(folder)
    text = f"{data.resolve()}: {usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        text += f", but nothing can be written there ({error.strerror}); see broker.data"
        return Row("disk", "failed", text)
    if usage.free < reserved_bytes(usage.total):
        return Row("disk", "failed", f"{text}, which is kept free: no slide would be fetched")
    open_folder = openness(data)
    if open_folder:
        text += f"; {open_folder}"
    return Row("disk", "ok", text)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _worker_checks(arguments: argparse.Namespace) -> Iterator[Row]:
    """Check what needs the libraries of a worker, where they are installed."""
    if find_spec("worker") is None:
        yield _no_worker(arguments)
        return
    command = [sys.executable, "-m", "worker.diagnostics.doctor"]
    if arguments.in_container:
        command.append("--in-container")
    if arguments.require_gpu:
        command.append("--require-gpu")
    command += [f"--destination={url}" for url in arguments.destination]
    try:
        for line in lines_of(command, _WORKER_CHECKS_LIMIT_S):
            yield Row.of_json(line)
    except (TimeoutError, ChildProcessError, ValueError) as error:
        yield Row("libraries", "failed", f"the checks themselves: {error}")


def _no_worker(arguments: argparse.Namespace) -> Row:
    text = (
        "those of a worker are not installed: run this where a worker runs to see GPU, OpenSlide, "
        "models and destinations"
    )
    if arguments.require_gpu:
        return Row("libraries", "failed", text)
    return Row("libraries", "absent", text)
