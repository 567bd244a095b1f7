"""The viewer's process: its parts, and the HTTP server around them."""

import logging
import signal
import sys
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from broker import log
from broker.data_folder import restrict_new_files
from broker.open_files import raise_limit
from broker.settings.config import Config, load, warn_of_old_names
from worker.linux import forbid_inspection
from worker.process.cgroup_limits import granted_cores
from worker.slide_cache.cache import FOLDER
from worker.slide_cache.reading import ReadSlideCache
from worker.slides.sandbox.client import Sandbox
from worker.viewer.app import Viewer, ViewerParts
from worker.viewer.folders import SlideFolders
from worker.viewer.guard import Guard
from worker.viewer.listener import listening
from worker.viewer.slides.allowed_slides import AllowedSlides
from worker.viewer.slides.open_slides import OpenSlides
from worker.viewer.slides.tile_cache import EncodedTiles
from worker.viewer.slides.viewed_slide import SlideOpener

_MOST_THREADS: Final = 8
"""Pictures of one slide that are made at a time."""
_SHUTDOWN_S: Final = 5
# Longer than the API keeps a connection that it does not use.
_KEEP_ALIVE_S: Final = 75
_log = logging.getLogger("worker.viewer")


def run_viewer() -> None:
    """Serve until SIGINT or SIGTERM. Raise `ConfigError`."""
    forbid_inspection()
    config = load()
    log.set_up(config.broker.log)
    warn_of_old_names()
    raise_limit()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _exit)
    with listening(config) as listener:
        restrict_new_files(config.broker.folders)
        _log.info("slides are shown on %s", config.worker.viewer.bind or "a socket in broker.data")
        server(config).run(sockets=[listener])


def server(config: Config) -> uvicorn.Server:
    """Return the HTTP server, to be run on a listening socket."""
    return uvicorn.Server(
        uvicorn.Config(
            application(config),
            # No access log: addresses hold names of folders.
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )


def _exit(_number: int, _frame: FrameType | None) -> None:
    """End in order, so that the socket's name is removed; uvicorn repeats the signal at its end."""
    sys.exit(0)


def application(config: Config) -> ASGIApp:
    """Return the viewer of these settings as an ASGI application."""
    worker = config.worker
    viewer = worker.viewer
    threads = min(worker.threads or granted_cores(), _MOST_THREADS)
    sandbox = Sandbox(threads, max_bytes=worker.limits.decode_bytes, read_s=worker.limits.decode_s)
    sandbox.prepare()
    cache = ReadSlideCache(config.broker.data / FOLDER)
    opener = SlideOpener(cache, sandbox, worker.limits.decode_s)
    # The folder of uploads is not listed: an upload is named by its caller alone.
    readable = [*worker.slides.roots, config.broker.uploads_folder]
    parts = ViewerParts(
        slides=AllowedSlides(readable, cache),
        folders=SlideFolders(worker.slides.roots),
        open_slides=OpenSlides(opener, viewer.open_slides, threads),
        tiles=EncodedTiles(viewer.tile_cache_bytes),
        idle_s=viewer.idle_s,
    )
    secret = None
    if viewer.bind and config.broker.viewer.secret is not None:
        secret = config.broker.viewer.secret.get_secret_value()
    return Guard(Viewer(parts).application(), secret)
