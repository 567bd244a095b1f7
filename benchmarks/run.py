"""`python -m benchmarks.run`: every benchmark, each beside its yardstick, as one table. Writes to stdout only."""

import argparse
import os
import platform
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from types import FrameType

from rich.console import Console
from rich.table import Table

from benchmarks import download, latency, memory, orders, roi
from benchmarks.bed import Bed
from benchmarks.row import Row

WIDTH = 130  # the table needs it; a pipe says 80


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter backlogs: under a minute")
    quick = parser.parse_args().quick
    signal.signal(signal.SIGTERM, _end)
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(_where())
    rows = orders.measure(*((3, 50) if quick else (7, 300)), console.print)
    rows += latency.measure(*(((100, 1_000, 3_000), 40) if quick else ((100, 10_000, 100_000), 300)), console.print)
    rows += memory.measure(1_000 if quick else 10_000, console.print)
    rows += roi.measure(*((3, 20_000, 12_000) if quick else (7, 40_000, 30_000)), console.print)
    rows += download.measure(*((40, 300, 3) if quick else (200, 1000, 3)), console.print)
    console.print(_table(rows))


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # unwinds, so that everything that was started is ended


def _where() -> str:
    with Bed() as bed:
        told = bed.client(0).info("server")
    server = f"{told.get('server_name', 'redis')} {told.get('valkey_version', told['redis_version'])}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis"))
    return f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}, {libraries}, {server}"


def _table(rows: Iterable[Row]) -> Table:
    table = Table("measured", "unit", title="Slidelane against its yardsticks", title_justify="left")
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
