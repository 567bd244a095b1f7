"""Celery's worker with what runs beside it: heartbeat, cleanup, scheduler, its end."""

import logging
import os
import warnings
from collections.abc import Sequence
from signal import Signals
from threading import Event, Thread
from typing import Any

from celery import signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from broker.data_folder import openness, restrict_new_files
from broker.log import Form, set_up
from broker.open_files import raise_limit
from broker.queue.celery_app import app
from broker.queue.kue_publisher import kue_publisher
from broker.queue.names import queue_names, worker_name
from broker.queue.scheduler import run_scheduler
from broker.queue.transport import check_messages
from broker.settings.config import ConfigError, WorkerSettings, warn_of_old_names
from worker.algorithms import registry
from worker.algorithms.hosting import HostingMonitor
from worker.algorithms.monitor import AlgorithmMonitor
from worker.cleanup import run_cleanup
from worker.context import WorkerContext, worker_context
from worker.delivery.notices import run_notifier
from worker.linux import forbid_inspection
from worker.process.gpu_lock import GpuLock, reserve_gpu
from worker.process.heartbeat import Heartbeat
from worker.process.machine_watch import MachineWatch
from worker.process.shutdown import Shutdown, start_semaphore_tracker
from worker.watch.watcher import Watcher, run_watcher

_log = logging.getLogger("worker")


def run_worker(role: str, stop_signals: Sequence[Signals]) -> int:
    """Run the worker until one of the signals; return the exit status. Raise `ConfigError`."""
    forbid_inspection()
    context = worker_context()
    settings = context.config.worker
    _log_only_to_stderr(context.config.broker.log)
    warn_of_old_names()
    restrict_new_files(context.config.broker.folders)
    open_folder = openness(context.data)
    if open_folder:
        _log.warning("%s", open_folder)
    raise_limit()
    queues = _queues(role, settings)
    name = worker_name(role, os.getpid())
    _warn_of_missing_roots(settings)
    heartbeat = Heartbeat(context.store, name, queues, _shown_settings(settings))
    heartbeat.describe(registry.cards_without_model(settings.algorithms).values())
    heartbeat.connect_signals()
    stopped = Event()
    gpu_lock = None
    if role == "gpu":
        gpu_lock = _reserve_gpu_and_watch_algorithms(context, heartbeat, stopped)
        start_semaphore_tracker()
    machine = MachineWatch(heartbeat, context.data, has_gpus=role == "gpu")
    Thread(target=machine.run, args=(stopped,), name="machine", daemon=True).start()
    _start_threads_when_ready(role, context, stopped)
    shutdown = Shutdown(stop_signals, heartbeat, settings.grace_s, stopped, context.leaving)
    shutdown.connect(app)
    check_messages()
    app.conf.update(include=["worker.tasks"])
    app.worker_main(_celery_options(name, queues, _pool_options(role, settings)))
    if gpu_lock:
        gpu_lock.release()
    return shutdown.end()


def _reserve_gpu_and_watch_algorithms(
    context: WorkerContext, heartbeat: Heartbeat, stopped: Event
) -> GpuLock | None:
    """Reserve a GPU, and announce which algorithms can be run, from now on and at each change.

    Without the device of the settings the worker goes on, for the algorithms that need none.
    """
    settings = context.config.worker
    gpu_lock = None
    device_fault = ""
    try:
        gpu_lock = reserve_gpu(settings.device, context.data)
    except ConfigError as error:
        device_fault = str(error)
    monitor = AlgorithmMonitor(settings, device_fault, heartbeat)
    Thread(target=monitor.run, args=(stopped,), name="algorithms", daemon=True).start()
    hosting = HostingMonitor(settings, context.data, context.store)
    Thread(target=hosting.run, args=(stopped,), name="hosting", daemon=True).start()
    return gpu_lock


def _warn_of_missing_roots(settings: WorkerSettings) -> None:
    for root in settings.slides.roots:
        if not root.is_dir():
            _log.warning("worker.slides.roots: there is no folder %s on this machine", root)


def _shown_settings(settings: WorkerSettings) -> dict[str, Any]:
    """Return the settings that `slidelane doctor` shows of a running worker; none is secret."""
    return {
        "device": settings.device,
        "threads": settings.threads,
        "roots": [str(root) for root in settings.slides.roots],
        "missing_roots": [str(root) for root in settings.slides.roots if not root.is_dir()],
        "decode_bytes": settings.limits.decode_bytes,
        "decode_s": settings.limits.decode_s,
    }


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
    """Start the cleanup beside every worker; scheduler and notifier beside couriers only.

    A machine may run no courier, and its disk must be cleaned up all the same.
    """
    cleanup = Thread(target=run_cleanup, args=(context, stopped), name="cleanup", daemon=True)
    threads = [cleanup, *_kue_publishers(role, context, stopped)]
    if role == "courier":
        scheduler = Thread(
            target=run_scheduler, args=(context.store, stopped), name="scheduler", daemon=True
        )
        notifier = Thread(
            target=run_notifier, args=(context.notifier, stopped), name="notifier", daemon=True
        )
        threads += [scheduler, notifier, *_watchers(context, stopped)]

    @signals.worker_ready.connect(weak=False)
    def _start(**_: object) -> None:
        for thread in threads:
            thread.start()


def _watchers(context: WorkerContext, stopped: Event) -> list[Thread]:
    """Return a thread for each watched folder of the settings."""
    config = context.config
    courier = worker_name("courier", os.getpid())
    threads = []
    for folder in config.worker.watch:
        watcher = Watcher(folder, context.store.arrivals, courier, config.broker.keep_s)
        thread = Thread(target=run_watcher, args=(watcher, stopped), name="watch", daemon=True)
        threads.append(thread)
    return threads


def _kue_publishers(role: str, context: WorkerContext, stopped: Event) -> list[Thread]:
    """Return the thread of a courier that publishes the events of Kue, where the settings want it.

    Raise `ConfigError`.
    """
    if role != "courier":
        return []
    publisher = kue_publisher(context.config, context.store, worker_name(role, os.getpid()))
    if publisher is None:
        return []
    return [Thread(target=publisher.run, args=(stopped,), name="kue", daemon=True)]


def _log_only_to_stderr(form: Form) -> None:
    """Set up the log before Celery does, and discard stdout, to which Celery also writes."""
    set_up(form)
    # Celery warns root of messages that are code, and takes none but JSON from us. The other
    # warning is about a default of its next version; the setting is in `broker.queue.celery_app`.
    for category in (SecurityWarning, CPendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    null_file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_file, 1)
    os.close(null_file)

    @signals.celeryd_after_setup.connect(weak=False)
    def _silence(**_: object) -> None:
        # Celery announces at every lost connection what a later version will do by default.
        warnings.simplefilter("ignore", CPendingDeprecationWarning)
        # Otherwise billiard writes in a form of its own until a child has set up its log.
        os.environ["_MP_FORK_LOGLEVEL_"] = ""
