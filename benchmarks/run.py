"""`python -m benchmarks.run`: every benchmark, each beside its yardstick, as one table.

Writes to stdout, and to `.bench/` what takes long to make: the environments of those we are measured against.
"""

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from types import FrameType

from rich.console import Console
from rich.table import Table

from benchmarks import (
    backlog_latency,
    download,
    geojson_export,
    gigapixels,
    ki67_vs_scikit_image,
    orders,
    redis_memory,
    region_latency,
    remote_region,
)
from benchmarks.comparison import Row
from benchmarks.environment import Bed
from benchmarks.peers import rounds as race

WIDTH = 130  # the table needs it; a pipe says 80


Say = Callable[[str], None]
Part = Callable[[bool, Say], list[Row]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description="Every benchmark beside its yardstick."
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"fewer rounds, shorter backlogs; leaves out {_LONG}"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    console.print(_where())
    rows: list[Row] = []
    for part in given.only or [name for name in PARTS if not (given.quick and name in _LONG)]:
        found = PARTS[part](given.quick, console.print)
        console.print(_table(part, found))
        rows += found
    console.print(_table("Slidelane against its yardsticks", rows))


def _queue(quick: bool, say: Say) -> list[Row]:
    return orders.measure(*((3, 50) if quick else (7, 300)), say)


def _latency(quick: bool, say: Say) -> list[Row]:
    return backlog_latency.measure(
        *(((100, 1_000, 3_000), 40) if quick else ((100, 10_000, 100_000), 300)), say
    )


def _memory(quick: bool, say: Say) -> list[Row]:
    return redis_memory.measure(1_000 if quick else 10_000, say)


def _roi(quick: bool, say: Say) -> list[Row]:
    return remote_region.measure(*((3, 20_000, 12_000) if quick else (7, 40_000, 30_000)), say)


def _download(quick: bool, say: Say) -> list[Row]:
    return download.measure(*((40, 300, 3) if quick else (200, 1000, 3)), say)


def _race(quick: bool, say: Say) -> list[Row]:
    # whoever decodes fast has done 2,000 tiles in half a second, of which one look at its memory is a tenth
    tiles = {"tiny-cnn": 256 if quick else 8_192, "mobilenet-v3-small": 256 if quick else 2_048}
    return race.measure(*((1, 8_192) if quick else (3, 32_768)), tiles, _where(), say)


def _nuclei(quick: bool, say: Say) -> list[Row]:
    return ki67_vs_scikit_image.measure(*((1, 4) if quick else (5, 16)), say)


def _polygons(quick: bool, say: Say) -> list[Row]:
    return geojson_export.measure((100_000,) if quick else (1_000_000, 10_000_000), say)


def _regions(quick: bool, say: Say) -> list[Row]:
    return region_latency.measure(40 if quick else 1000, say)


def _gigapixels(quick: bool, say: Say) -> list[Row]:
    edges_px = (8_192, 20_000) if quick else (20_000, 63_246, 200_000)
    return gigapixels.measure(1 if quick else 3, edges_px, say)


PARTS: Mapping[str, Part] = {
    "orders": _queue, "latency": _latency, "memory": _memory, "roi": _roi, "download": _download,
    "regions": _regions, "gigapixels": _gigapixels, "ki67": _nuclei, "geojson": _polygons, "race": _race,
}  # fmt: skip
_LONG = ("regions", "gigapixels", "ki67", "geojson", "race")


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # unwinds, so that everything that was started is ended


def _where() -> str:
    with Bed() as bed:
        told = bed.client(0).info("server")
    server = (
        f"{told.get('server_name', 'redis')} {told.get('valkey_version', told['redis_version'])}"
    )
    libraries = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis"))
    return f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}, {libraries}, {server}"


def _table(title: str, rows: Iterable[Row]) -> Table:
    table = Table("measured", "unit", title=title, title_justify="left")
    for heading in ("Slidelane", "yardstick", "ratio", "rounds"):
        table.add_column(heading, justify="right")
    table.add_column("yardstick is")
    for row in rows:
        table.add_row(
            row.what, row.unit, _number(row.ours), _number(row.yardstick), f"{row.ratio:.2f}", _range(row.ratios),
            row.against,
        )  # fmt: skip
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _range(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""


if __name__ == "__main__":
    main()
