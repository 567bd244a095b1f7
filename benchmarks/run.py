"""`python -m benchmarks.run`: every benchmark with its yardstick, as one table.

Prints to stdout. Writes the virtual environments of the peers, which take long to make, to
`.bench/`.
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
    findings_tiles,
    geojson_export,
    gigapixels,
    ki67_vs_scikit_image,
    opening,
    orders,
    redis_memory,
    region_latency,
    remote_region,
    upload,
    viewer,
)
from benchmarks.comparison import Comparison
from benchmarks.environment import Environment
from benchmarks.outputs import rounds as outputs
from benchmarks.page import measure as page
from benchmarks.peers import rounds

WIDTH = 130
"""The width that the table needs; a pipe has 80."""

Report = Callable[[str], None]
Part = Callable[[bool, Report], list[Comparison]]


def main() -> None:
    """Run the benchmarks and print their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description="Every benchmark beside its yardstick."
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"fewer rounds, shorter backlogs; leaves out {_LONG}"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    console.print(_where())
    rows: list[Comparison] = []
    for part in arguments.only or _parts(quick=arguments.quick):
        measured = PARTS[part](arguments.quick, console.print)
        console.print(_table(part, measured))
        rows += measured
    console.print(_table("Slidelane against its yardsticks", rows))


def _parts(*, quick: bool) -> list[str]:
    if quick:
        return [name for name in PARTS if name not in _LONG]
    return list(PARTS)


def _orders(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return [*orders.measure(3, 50, report), *opening.measure(3, 20, report)]
    return [*orders.measure(7, 300, report), *opening.measure(7, 100, report)]


def _latency(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return backlog_latency.measure((100, 1_000, 3_000), 40, report)
    return backlog_latency.measure((100, 10_000, 100_000), 300, report)


def _memory(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return redis_memory.measure(1_000, report)
    return redis_memory.measure(10_000, report)


def _roi(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return remote_region.measure(3, 20_000, 12_000, report)
    return remote_region.measure(7, 40_000, 30_000, report)


def _download(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return download.measure(40, 300, 3, report)
    return download.measure(200, 1000, 3, report)


def _upload(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return upload.measure(200, 3, report)
    return upload.measure(1000, 5, report)


def _race(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        tiles = {"tiny-cnn": 256, "mobilenet-v3-small": 256}
        return rounds.measure(1, 8_192, tiles, _where(), report)
    # The fastest decode 2,000 tiles in half a second, of which one sample of memory takes a tenth.
    tiles = {"tiny-cnn": 8_192, "mobilenet-v3-small": 2_048}
    return rounds.measure(3, 32_768, tiles, _where(), report)


def _outputs(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return outputs.measure(1, 12_288, report)
    return outputs.measure(3, 20_480, report)


def _nuclei(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return ki67_vs_scikit_image.measure(1, 4, report)
    return ki67_vs_scikit_image.measure(5, 16, report)


def _polygons(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return geojson_export.measure((100_000,), report)
    return geojson_export.measure((1_000_000, 10_000_000), report)


def _findings(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return findings_tiles.measure(50_000, 2, 100, report)
    return findings_tiles.measure(1_000_000, 3, 1000, report)


def _regions(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return region_latency.measure(40, report)
    return region_latency.measure(1000, report)


def _viewer(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return viewer.measure(8_192, 8_192, 200, report)
    return viewer.measure(20_000, 12_288, 1_000, report)


def _gigapixels(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return gigapixels.measure(1, (8_192, 20_000), report)
    return gigapixels.measure(3, (20_000, 63_246, 200_000), report)


def _page(quick: bool, report: Report) -> list[Comparison]:
    if quick:
        return page.measure(1, report)
    return page.measure(5, report)


PARTS: Mapping[str, Part] = {
    "orders": _orders,
    "latency": _latency,
    "memory": _memory,
    "roi": _roi,
    "download": _download,
    "upload": _upload,
    "regions": _regions,
    "gigapixels": _gigapixels,
    "ki67": _nuclei,
    "geojson": _polygons,
    "viewer": _viewer,
    "findings": _findings,
    "page": _page,
    "outputs": _outputs,
    "race": _race,
}
_LONG = ("regions", "gigapixels", "ki67", "geojson", "viewer", "findings", "outputs", "race")


def _end(number: int, _frame: FrameType | None) -> None:
    # This raises SystemExit, so that every context is left and ends what it started.
    sys.exit(128 + number)


def _where() -> str:
    with Environment() as env:
        info = env.client(0).info("server")
    name = info.get("server_name", "redis")
    server = f"{name} {info.get('valkey_version', info['redis_version'])}"
    libraries = [f"{name} {version(name)}" for name in ("celery", "kombu", "redis")]
    python = f"Python {platform.python_version()}"
    parts = [f"{os.cpu_count()} cores", platform.platform(), python, *libraries, server]
    return ", ".join(parts)


def _table(title: str, rows: Iterable[Comparison]) -> Table:
    table = Table("measured", "unit", title=title, title_justify="left")
    for heading in ("Slidelane", "yardstick", "ratio", "rounds"):
        table.add_column(heading, justify="right")
    table.add_column("yardstick is")
    for row in rows:
        table.add_row(
            row.what,
            row.unit,
            _number(row.ours),
            _number(row.yardstick),
            f"{row.ratio:.2f}",
            _range(row.ratios),
            row.against,
        )
    return table


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}"


def _range(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


if __name__ == "__main__":
    main()
