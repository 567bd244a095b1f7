"""Run one Celery worker.

`python -m worker gpu` classifies; `python -m worker courier` fetches, delivers and runs the
scheduler.
"""

import argparse
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Thread, Timer

from celery import signals

from broker.log import Form, set_up
from broker.queue.celery_app import app
from broker.queue.names import queue_names, worker_name
from broker.queue.scheduler import run_scheduler
from broker.settings.config import ConfigError, WorkerSettings, warn_of_old_names
from worker.algorithms import registry
from worker.cleanup import run_cleanup
from worker.context import WorkerContext, worker_context
from worker.linux import forbid_inspection
from worker.process.gpu_lock import reserve_gpu
from worker.process.heartbeat import Heartbeat

_log = logging.getLogger("worker")


def main() -> None:
    """Run one Celery worker in this process until it is asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("role", choices=("gpu", "courier"))
    role = parser.parse_args().role
    try:
        _run_worker(role)
    except ConfigError as error:
        sys.exit(f"slidelane: {error}")


def _run_worker(role: str) -> None:
    forbid_inspection()
    context = worker_context()
    settings = context.config.worker
    _log_only_to_stderr(context.config.broker.log)
    warn_of_old_names()
    _raise_file_limit()
    queues = _queues(role, settings)
    name = worker_name(role, os.getpid())
    cards = registry.cards(settings.algorithms)
    Heartbeat(context.store, name, queues, cards.values()).connect_signals()
    stopped = Event()
    gpu_lock = None
    if role == "gpu":
        gpu_lock = reserve_gpu(settings.device, context.data)
    _start_threads_when_ready(role, context, stopped)
    _Shutdown(role, settings.grace_s, stopped).connect_signals()
    app.conf.update(include=["worker.tasks"])
    app.worker_main(_celery_options(name, queues, _pool_options(role, settings)))
    if gpu_lock:
        gpu_lock.release()


def _queues(role: str, settings: WorkerSettings) -> list[str]:
    if role == "courier":
        return [*queue_names("deliver"), *queue_names("fetch")]
    return [name for queue in settings.queues for name in queue_names(queue)]


def _pool_options(role: str, settings: WorkerSettings) -> list[str]:
    if role == "courier":
        return ["--pool", "threads", "--concurrency", str(settings.courier_threads)]
    return ["--pool", "prefork", "--concurrency", "1"]


def _celery_options(name: str, queues: Sequence[str], pool_options: Sequence[str]) -> list[str]:
    return [
        "-q",  # no banner between the log lines
        "worker",
        *pool_options,
        "-Q",
        ",".join(queues),
        "-n",
        name,
        "-E",
        "--without-gossip",
        "--without-mingle",
        "-l",
        "INFO",
    ]


def _start_threads_when_ready(role: str, context: WorkerContext, stopped: Event) -> None:
    """Start the cleanup beside every worker, and the scheduler beside couriers only.

    A machine may run no courier, and its disk must be cleaned up all the same.
    """
    cleanup = Thread(target=run_cleanup, args=(context, stopped), name="cleanup", daemon=True)
    threads = [cleanup]
    if role == "courier":
        scheduler = Thread(
            target=run_scheduler, args=(context.store, stopped), name="scheduler", daemon=True
        )
        threads.append(scheduler)

    @signals.worker_ready.connect(weak=False)
    def _start(**_: object) -> None:
        for thread in threads:
            thread.start()


class _Shutdown:
    """After SIGTERM let running work end by itself for `grace_s`, then give it back."""

    def __init__(self, role: str, grace_s: float, stopped: Event) -> None:
        self._role = role
        self._grace_s = grace_s
        self._stopped = stopped

    def connect_signals(self) -> None:
        """Handle Celery's signals from now on."""
        signals.worker_shutting_down.connect(self._begin, weak=False)

    def _begin(self, how: str, **_: object) -> None:
        self._stopped.set()
        is_warm = how == "Warm"
        grace_s = 0.0
        if is_warm:
            grace_s = self._grace_s
        message = "asked to stop (%s); running work has %g s"
        # From another thread: the signal may have come in the middle of writing a line.
        Thread(target=_log.info, args=(message, how.lower(), grace_s)).start()
        if is_warm:
            timer = Timer(grace_s, self._give_back)
            timer.daemon = True
            timer.start()

    def _give_back(self) -> None:
        if self._role == "courier":
            # Its threads cannot be ended from outside; their leases stop them.
            worker_context().leaving.set()
        else:
            # Celery's cold shutdown ends the child, and then calls `Heartbeat.leave`.
            os.kill(os.getpid(), signal.SIGQUIT)


def _raise_file_limit() -> None:
    """Allow as many open files as the system grants.

    Each open slide takes a connection for every thread: the usual soft limit of 1,024 is soon
    reached on a large host.
    """
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems name a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _log_only_to_stderr(form: Form) -> None:
    """Set up the log before Celery does, and discard stdout, to which Celery also writes."""
    set_up(form)
    null_file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_file, 1)
    os.close(null_file)

    @signals.celeryd_after_setup.connect(weak=False)
    def _silence_children(**_: object) -> None:
        # Otherwise billiard writes in a form of its own until a child has set up its log.
        os.environ["_MP_FORK_LOGLEVEL_"] = ""


if __name__ == "__main__":
    main()
