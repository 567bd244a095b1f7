"""`slidelane doctor`: prints one table of what an installation has and lacks.

The status is 1 where a worker lacks something. A service that runs is asked what it can do; only
where none runs, the rows are about what this shell would start. Redis and the disk are checked by
this module, what a service says of itself is in `running_service`. What
needs the libraries of a worker is checked by `worker.diagnostics.doctor` in a process of its own;
where they are not installed, as in the API's image, a row says so.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from broker.data_folder import openness
from broker.diagnostics import Row
from broker.errors import TemporaryError
from broker.order_store import OrderStore, WorkerView
from broker.order_store.embedded_redis import find_server
from broker.service_checks import (
    look_at_redis,
    models_row,
    redis_row,
    space_row,
    watched_rows,
    workers_row,
)
from broker.settings.config import Config, ConfigError, load
from slidelane import container_checks, running_service
from slidelane.http_probe import NoAnswerError
from slidelane.process import lines_of
from slidelane.viewer_probe import ask_viewer

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
    store, redis_row = _redis(config, may_be_absent=arguments.in_container)
    workers = running_service.workers_of(store)
    url = running_service.api_url(config)
    has_api = running_service.answers(url)
    if store and (workers or has_api):
        yield Row("service", "ok", f"asked by its Redis, {_asked(config)}")
        yield redis_row
        yield from _running(store, workers, config, arguments)
    elif has_api:
        yield from _running_elsewhere(url, config, arguments)
    else:
        text = (
            f"none runs at {_asked(config)} or {url}: the rows are of what this shell would start"
        )
        yield Row("service", "absent", text)
        yield redis_row
        if store:
            yield workers_row(workers)
        yield _disk(config.broker.data)
        yield _uploads(config.broker.uploads_folder)
        yield _viewer(config)
        if arguments.in_container:
            yield from container_checks.run_checks()
        yield from _worker_checks(arguments, {}, is_running=False)


def _asked(config: Config) -> str:
    """Return where Redis is looked for, without its login."""
    if config.broker.redis_url == "embedded":
        return f"broker.data {config.broker.data.resolve()}"
    return "broker.redis_url"


def _running(
    store: OrderStore,
    workers: Sequence[WorkerView],
    config: Config,
    arguments: argparse.Namespace,
) -> Iterator[Row]:
    """Check the service that uses this Redis: what its workers say, and this machine for them."""
    yield workers_row(workers)
    yield _disk(config.broker.data)
    yield _uploads(config.broker.uploads_folder)
    yield _viewer(config)
    if arguments.in_container:
        yield from container_checks.run_checks()
    if any(worker.offered is not None for worker in workers):
        yield models_row(store, workers)
    if workers:
        yield running_service.slides_row(workers)
    yield from watched_rows(store, names_files=True)
    settings = running_service.settings_here(workers)
    yield from _worker_checks(arguments, settings, is_running=bool(workers))


def _running_elsewhere(url: str, config: Config, arguments: argparse.Namespace) -> Iterator[Row]:
    """Check a service whose API answers here, and whose data folder this shell does not know."""
    data = config.broker.data.resolve()
    text = f"asked {url}; it does not use broker.data {data}: with the service's own, more is shown"
    yield Row("service", "ok", text)
    yield from running_service.rows_over_http(url)
    if arguments.in_container:
        yield from container_checks.run_checks()
    yield from _worker_checks(arguments, {}, is_running=True)


def _redis(config: Config, *, may_be_absent: bool) -> tuple[OrderStore | None, Row]:
    """Return the store, None where Redis does not answer, and the row about Redis."""
    try:
        store = OrderStore.connect(config.broker)
    except ConfigError as error:
        return None, _no_redis(config, error, may_be_absent=may_be_absent)
    try:
        return store, redis_row(look_at_redis(store))
    except TemporaryError as error:
        return None, Row("redis", "failed", f"{error.detail}; see broker.redis_url")


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


def _disk(data: Path) -> Row:
    refused = "nothing can be written there ({}); see broker.data"
    return _space("disk", data, refused=refused, full="no slide would be fetched")


def _viewer(config: Config) -> Row:
    """Return whether slides can be looked at; orders do not need that."""
    try:
        return Row("viewer", "ok", ask_viewer(config))
    except NoAnswerError as error:
        return Row("viewer", "absent", f"{error}; slides are ordered all the same, and not shown")


def _uploads(folder: Path) -> Row:
    """Check the folder of the slides that callers send in, which the API makes when it needs it."""
    refused = "no slide can be sent in there ({}); see broker.uploads"
    return _space("uploads", folder, refused=refused, full="no slide is taken")


def _space(what: str, folder: Path, *, refused: str, full: str) -> Row:
    """Return the row of a folder, and where nothing is wrong who else may enter it."""
    row = space_row(what, folder, str(folder.resolve()), refused=refused, full=full)
    open_folder = openness(folder)
    if row.state != "ok" or not open_folder:
        return row
    return replace(row, message=f"{row.message}; {open_folder}")


def _worker_checks(
    arguments: argparse.Namespace, settings: dict[str, str], *, is_running: bool
) -> Iterator[Row]:
    """Check what needs the libraries of a worker, where they are installed.

    `settings`: variables to set for it. `is_running`: a service has said what it can run.
    """
    if find_spec("worker") is None:
        yield _no_worker(arguments)
        return
    command = [sys.executable, "-m", "worker.diagnostics.doctor"]
    if arguments.in_container:
        command.append("--in-container")
    if arguments.require_gpu:
        command.append("--require-gpu")
    if is_running:
        command.append("--machine-only")
    command += [f"--destination={url}" for url in arguments.destination]
    try:
        for line in lines_of(command, _WORKER_CHECKS_LIMIT_S, settings):
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
