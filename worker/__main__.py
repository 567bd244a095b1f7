"""`python -m worker gpu` classifies; `python -m worker courier` fetches, delivers and runs the timer."""

import argparse
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from threading import Event, Thread, Timer

from celery import signals

from broker.log import Form, set_up
from broker.queue.celery_app import app
from broker.queue.names import queue_names
from broker.queue.scheduler import run_scheduler
from broker.settings.config import ConfigError, WorkerSettings, warn_of_old_names
from worker.algorithms import registry
from worker.cleanup import sweep
from worker.context import worker_context
from worker.process import gpu_lock
from worker.process.heartbeat import Heartbeat

_log = logging.getLogger("worker")


def _options(role: str, settings: WorkerSettings) -> tuple[list[str], list[str]]:
    if role == "courier":
        queues = [*queue_names("deliver"), *queue_names("fetch")]
        return queues, ["--pool", "threads", "--concurrency", str(settings.courier_threads)]
    return [name for queue in settings.queues for name in queue_names(queue)], [
        "--pool",
        "prefork",
        "--concurrency",
        "1",
    ]


def _run_beside(role: str, stopped: Event) -> None:
    """The sweep runs as long as the worker does, for a machine may hold no other; the timer beside couriers only."""
    here = worker_context()
    threads = [Thread(target=sweep, args=(here, stopped), name="sweep", daemon=True)]
    if role == "courier":
        threads.append(
            Thread(target=run_scheduler, args=(here.store, stopped), name="timer", daemon=True)
        )

    @signals.worker_ready.connect(weak=False)
    def _start(**_: object) -> None:
        for thread in threads:
            thread.start()


def _leave_in_time(role: str, grace_s: float, stopped: Event) -> None:
    """After SIGTERM running work may end by itself for `grace_s`; then it is handed back."""

    def hand_back() -> None:
        if role == "courier":  # its threads cannot be ended from outside; their leases tell them
            worker_context().leaving.set()
        else:
            os.kill(
                os.getpid(), signal.SIGQUIT
            )  # Celery's cold shutdown: ends the child, and then `Heartbeat.leave`

    @signals.worker_shutting_down.connect(weak=False)
    def _shutting_down(how: str, **_: object) -> None:
        stopped.set()
        said = (
            "asked to stop (%s); running work has %g s",
            how.lower(),
            grace_s if how == "Warm" else 0,
        )
        Thread(
            target=_log.info, args=said
        ).start()  # a signal may have come in the middle of a line
        if how == "Warm":
            timer = Timer(grace_s, hand_back)
            timer.daemon = True
            timer.start()


def main() -> None:
    """Run one Celery worker in this process until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("role", choices=("gpu", "courier"))
    role = parser.parse_args().role
    try:
        _work(role)
    except ConfigError as error:
        sys.exit(f"slidelane: {error}")


def _take_all_files() -> None:
    """Each open slide takes a wire for every thread: the usual soft limit of 1,024 is soon reached on a large host."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems name a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _log_alone(form: Form) -> None:
    """From here on, and before Celery asks for it, all goes into the log: Celery also writes to stdout, past it."""
    set_up(form)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)

    @signals.celeryd_after_setup.connect(weak=False)
    def _children_too(**_: object) -> None:
        os.environ["_MP_FORK_LOGLEVEL_"] = (
            ""  # else billiard writes in a form of its own until a child has set up its log
        )


def _work(role: str) -> None:
    settings = worker_context().config.worker
    _log_alone(worker_context().config.broker.log)
    warn_of_old_names()
    _take_all_files()
    queues, pool = _options(role, settings)
    name = f"{role}-{os.getpid()}@{os.uname().nodename}"
    cards = registry.cards(settings.algorithms)
    Heartbeat(worker_context().store, name, queues, cards.values()).listen()
    stopped = Event()
    held = gpu_lock.take(settings.device, worker_context().data) if role == "gpu" else None
    _run_beside(role, stopped)
    _leave_in_time(role, settings.grace_s, stopped)
    app.conf.update(include=["worker.tasks"])
    app.worker_main(
        [
            "-q",  # no banner between the log lines
            "worker",
            *pool,
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
    )
    if held:
        held.let_go()


if __name__ == "__main__":
    main()
