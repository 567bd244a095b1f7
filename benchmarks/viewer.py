"""Measures the tiles of the viewer, beside OpenSlide's DeepZoom with Pillow in the same run.

A tile is read in the slide's decoder process and encoded; over HTTP a viewer of its own process is
asked on its socket, six requests at a time, as a browser does.
"""

import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from urllib.parse import quote

import openslide
from openslide.deepzoom import DeepZoomGenerator

from benchmarks.comparison import Comparison
from benchmarks.environment import ROOT
from benchmarks.peak_memory import family_bytes
from broker.settings.config import PREFIX
from broker.settings.viewer import viewer_socket
from demo.slide import make_sample_slide
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.reading import ReadSlideCache
from worker.slides.sandbox.client import Sandbox
from worker.viewer.iiif import TILE_PX, ImageRequest
from worker.viewer.slides.viewed_slide import SlideOpener

AT_ONCE = 6
"""Requests that a browser has under way to one server."""
QUALITY = 82
OPEN_SLIDES = 8
"""The default of `worker.viewer.open_slides`."""
MEMORY_BAR_MB = 1200
START_S = 60.0
_AGAINST = "OpenSlide's DeepZoom, Pillow's JPEG"


def measure(
    edge_px: int, flat_edge_px: int, tiles: int, report: Callable[[str], None]
) -> list[Comparison]:
    """Measure `tiles` tiles of a pyramid, and the coarse ones of a slide without levels."""
    with TemporaryDirectory(prefix="slidelane-bench-") as folder:
        pyramid = Path(folder, "pyramid.svs")
        report(f"drawing slides of {edge_px} and {flat_edge_px} px")
        make_sample_slide(pyramid, edge_px, edge_px * 3 // 4)
        flat = Path(folder, "flat.tif")
        _write_flat(flat, flat_edge_px)
        return [
            *_tile_times(pyramid, tiles, report),
            *_coarse_times(flat, max(10, tiles // 10), report),
            *_over_http(pyramid, tiles, report),
            _memory(pyramid, report),
        ]


def _tile_times(path: Path, tiles: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return p50 and p99 of one tile at a time, of all zoom steps alike."""
    report(f"{tiles} tiles of a pyramid, one at a time")
    with openslide.OpenSlide(path) as slide:
        wanted = _requests(*slide.dimensions, tiles, coarsest=1)
        ours, theirs = _in_turns(path, slide, wanted)
    return _percentiles(f"tile of {TILE_PX} px of a pyramid", ours, theirs)


def _coarse_times(path: Path, tiles: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return p50 and p99 of the coarse tiles of a slide without levels, after its overview."""
    report(f"{tiles} coarse tiles of a slide without levels")
    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions
        wanted = _requests(width, height, tiles, coarsest=max(width, height) / 2048)
        ours, theirs = _in_turns(path, slide, wanted)
    return _percentiles(f"coarse tile of {TILE_PX} px, slide without levels", ours, theirs)


def _in_turns(
    path: Path, slide: openslide.OpenSlide, wanted: Sequence[ImageRequest]
) -> tuple[list[float], list[float]]:
    """Return the seconds of each tile here and by DeepZoom, made one after the other."""
    opener = SlideOpener(ReadSlideCache(path.parent / "none"), Sandbox(2), 60)
    deepzoom = DeepZoomGenerator(slide, TILE_PX, 0, limit_bounds=False)
    viewed = opener.open(LocalSlide(path, "stat:benchmark", path.stat().st_size))
    ours: list[float] = []
    theirs: list[float] = []
    try:
        if viewed.lacks_coarse_levels:
            viewed.read_overview()
        for request in wanted:
            began = time.perf_counter()
            viewed.jpeg(request)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            _deepzoom_tile(deepzoom, request)
            theirs.append(time.perf_counter() - began)
    finally:
        viewed.close()
    return ours, theirs


def _deepzoom_tile(deepzoom: DeepZoomGenerator, request: ImageRequest) -> bytes:
    """Return the same tile by DeepZoom, whose levels are counted from the coarsest one."""
    step = round(request.downsample_x).bit_length() - 1
    level = deepzoom.level_count - 1 - step
    edge = TILE_PX << step
    tile = deepzoom.get_tile(level, (request.x // edge, request.y // edge))
    encoded = io.BytesIO()
    tile.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def _over_http(path: Path, tiles: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return the tiles in a second, six at a time."""
    report(f"{tiles} tiles over HTTP, {AT_ONCE} at a time")
    with openslide.OpenSlide(path) as slide:
        wanted = _requests(*slide.dimensions, tiles, coarsest=1)
        deepzoom = DeepZoomGenerator(slide, TILE_PX, 0, limit_bounds=False)
        with _viewer(path.parent) as (socket_path, _), ThreadPoolExecutor(AT_ONCE) as pool:
            callers = [_Caller(socket_path, path) for _ in range(AT_ONCE)]
            callers[0].get(wanted[0])
            ours_s = _seconds(pool, [(callers[i % AT_ONCE], wanted[i::AT_ONCE]) for i in range(6)])
            began = time.perf_counter()
            list(pool.map(lambda request: _deepzoom_tile(deepzoom, request), wanted))
            theirs_s = time.perf_counter() - began
    what = f"tiles of {TILE_PX} px over HTTP, {AT_ONCE} at a time"
    against = f"{_AGAINST} in {AT_ONCE} threads, without HTTP"
    return [Comparison(what, "tiles/s", tiles / ours_s, against, tiles / theirs_s)]


def _memory(path: Path, report: Callable[[str], None]) -> Comparison:
    """Return what the viewer holds with as many open slides as it keeps."""
    report(f"memory of a viewer with {OPEN_SLIDES} open slides")
    with openslide.OpenSlide(path) as slide:
        wanted = _requests(*slide.dimensions, 8, coarsest=1)
    with _viewer(path.parent) as (socket_path, process):
        for number in range(OPEN_SLIDES):
            copy = path.with_name(f"open-{number}.svs")
            copy.hardlink_to(path)
            _Caller(socket_path, copy).get_all(wanted)
        held_mb = family_bytes(process) / 1e6
    what = f"viewer with {OPEN_SLIDES} open slides, memory (PSS)"
    return Comparison(what, "MB", held_mb, "the bar", MEMORY_BAR_MB)


class _Caller:
    """One connection to a viewer's socket."""

    def __init__(self, socket_path: Path, slide: Path) -> None:
        self._connection = HTTPConnection("viewer")
        self._connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.sock.connect(str(socket_path))
        self._headers = {"Slide-Path": quote(str(slide))}

    def get_all(self, wanted: Sequence[ImageRequest]) -> None:
        """Ask for one tile after the other."""
        for request in wanted:
            self.get(request)

    def get(self, request: ImageRequest) -> None:
        """Ask for a tile. Raise `RuntimeError` where it is not answered."""
        region = f"{request.x},{request.y},{request.width},{request.height}"
        size = f"{request.width_px},{request.height_px}"
        address = f"/iiif/{region}/{size}/0/default.jpg"
        self._connection.request("GET", address, headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{address} is answered {answer.status}")


def _seconds(
    pool: ThreadPoolExecutor, work: Sequence[tuple[_Caller, Sequence[ImageRequest]]]
) -> float:
    began = time.perf_counter()
    for done in [pool.submit(caller.get_all, wanted) for caller, wanted in work]:
        done.result()
    return time.perf_counter() - began


@contextmanager
def _viewer(roots: Path) -> Iterator[tuple[Path, int]]:
    """Run a viewer that keeps no tiles; yield its socket and its process id."""
    with TemporaryDirectory(prefix="slidelane-bench-") as data:
        env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        env |= {
            f"{PREFIX}BROKER__DATA": data,
            f"{PREFIX}WORKER__SLIDES__ROOTS": json.dumps([str(roots)]),
            f"{PREFIX}WORKER__VIEWER__TILE_CACHE_BYTES": "0",
        }
        process = subprocess.Popen([sys.executable, "-m", "worker.viewer"], cwd=ROOT, env=env)
        try:
            path = viewer_socket(Path(data))
            deadline = time.monotonic() + START_S
            while not path.exists():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("the viewer does not start")
                time.sleep(0.05)
            yield path, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)


def _requests(width: int, height: int, count: int, *, coarsest: float) -> list[ImageRequest]:
    """Return tiles as a browser asks for them, of every zoom step from `coarsest` on alike."""
    chance = random.Random(5)
    steps = []
    step = 1
    while max(width, height) / step > TILE_PX / 2:
        if step >= coarsest:
            steps.append(step)
        step *= 2
    wanted = []
    for _ in range(count):
        step = chance.choice(steps)
        edge = TILE_PX * step
        x = edge * chance.randrange(max(1, width // edge))
        y = edge * chance.randrange(max(1, height // edge))
        box_width = min(edge, width - x)
        box_height = min(edge, height - y)
        size = (-(-box_width // step), -(-box_height // step))
        wanted.append(ImageRequest(x, y, box_width, box_height, *size))
    return wanted


def _percentiles(what: str, ours: list[float], theirs: list[float]) -> list[Comparison]:
    mine = quantiles(ours, n=100)
    other = quantiles(theirs, n=100)
    return [
        Comparison(
            f"{what}, p{percent}",
            "ms",
            1000 * mine[percent - 1],
            _AGAINST,
            1000 * other[percent - 1],
        )
        for percent in (50, 99)
    ]


def _write_flat(path: Path, edge_px: int) -> None:
    """Write level 0 of a drawn slide as a tiled JPEG without further levels."""
    import tifffile

    drawn = path.with_name("drawn.svs")
    make_sample_slide(drawn, edge_px, edge_px * 3 // 4)
    pixels = tifffile.imread(drawn, key=0)
    drawn.unlink()
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
