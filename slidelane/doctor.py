"""`slidelane doctor`: one table of what an installation has, and status 1 where a worker lacks something.

Owns what is asked of Redis and the disk, and the table. What needs a worker's libraries is asked of
`worker.diagnostics.doctor`, in a process of its own; where they are not installed, as in the API's image, that is said.
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

from broker.diagnostics import Row
from broker.disk_space import reserved_bytes
from broker.errors import TemporaryError
from broker.order_store import OrderStore, ServerView
from broker.order_store.embedded_redis import find_server
from broker.queue.names import COURIER_QUEUES, base_of
from broker.settings.config import Config, ConfigError, load
from slidelane import container_checks
from slidelane.process import lines_of

_LIMIT_S = 600.0


def add_to(commands: Any) -> None:
    """The subcommand."""
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
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Print the table as it comes; 1 where a row failed. Raises `ConfigError`."""
    has_failed = False
    for row in _rows(load(), asked):
        has_failed |= row.state == "failed"
        print(f"{row.what:<12} {row.state:<7} {row.message}", flush=True)
    return int(has_failed)


def _rows(config: Config, asked: argparse.Namespace) -> Iterator[Row]:
    yield from _redis(config, needs_none=asked.in_container)
    yield _disk(config.broker.data)
    if asked.in_container:
        yield from container_checks.rows()
    yield from _bench(asked)


def _redis(config: Config, *, needs_none: bool) -> Iterator[Row]:
    """Redis, and the workers that it knows."""
    try:
        store = OrderStore.connect(config.broker)
    except ConfigError as error:
        is_unstarted = config.broker.redis_url == "embedded"
        said = f"{error} (there is {_binary()})" if is_unstarted else str(error)
        yield Row("redis", "absent" if needs_none and is_unstarted else "failed", said)
        return
    try:
        began = time.monotonic()
        store.ping()
        took_ms = 1000 * (time.monotonic() - began)
        yield Row("redis", "ok", f"{_told(store)}, answers in {took_ms:.1f} ms")
        yield _workers(store)
    except TemporaryError as error:
        yield Row("redis", "failed", f"{error.detail}; see broker.redis_url")


def _told(store: OrderStore) -> str:
    try:
        server = store.server()
    except TemporaryError as error:  # an access list may hide it
        return error.detail
    return ", ".join([server.name, *_promises(server)])


def _promises(server: ServerView) -> Iterator[str]:
    yield (
        "append-only file" if server.is_durable else "NO append-only file: a power cut loses orders"
    )
    if server.evicts:
        yield "EVICTS keys when its memory is full: set maxmemory-policy noeviction"


def _binary() -> str:
    try:
        return f"{find_server()} to start"
    except ConfigError:
        return "no server to start either"


def _workers(store: OrderStore) -> Row:
    workers = store.workers()
    said = [
        f"{worker.name} on {','.join(queue for queue in worker.queues if '.' not in queue)}"
        for worker in workers
    ]
    consumed = {queue for worker in workers for queue in worker.queues}
    missing = [f"nobody consumes {queue}" for queue in sorted(set(COURIER_QUEUES) - consumed)]
    if not any(base_of(queue) not in COURIER_QUEUES for queue in consumed):
        missing.append("nobody classifies")
    return Row("workers", "absent" if missing else "ok", "; ".join([*said, *missing]))


def _disk(data: Path) -> Row:
    place = next(path for path in (data.resolve(), *data.resolve().parents) if path.exists())
    disk = shutil.disk_usage(place)
    said = f"{data.resolve()}: {disk.free / 1e9:.1f} GB of {disk.total / 1e9:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"1")
    except OSError as error:
        return Row(
            "disk",
            "failed",
            f"{said}, but nothing can be written there ({error.strerror}); see broker.data",
        )
    if disk.free < reserved_bytes(disk.total):
        return Row("disk", "failed", f"{said}, which is kept free: no slide would be fetched")
    return Row("disk", "ok", said)


def _bench(asked: argparse.Namespace) -> Iterator[Row]:
    if find_spec("worker") is None:
        said = "there is none here: run this where a worker runs to see GPU, OpenSlide, models and destinations"
        yield Row("bench", "failed" if asked.require_gpu else "absent", said)
        return
    flags = [
        f"--{name.replace('_', '-')}"
        for name in ("in_container", "require_gpu")
        if getattr(asked, name)
    ]
    urls = [f"--destination={url}" for url in asked.destination]
    try:
        for line in lines_of(
            [sys.executable, "-m", "worker.diagnostics.doctor", *flags, *urls], _LIMIT_S
        ):
            yield Row.of_json(line)
    except (TimeoutError, ChildProcessError, ValueError) as error:
        yield Row("bench", "failed", f"the checks themselves: {error}")
