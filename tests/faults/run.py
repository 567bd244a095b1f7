"""`python -m tests.faults.run`: orders under fire, then the table. Exit 1 when anything was lost, doubled or untrue."""

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.faults.harness import Seen, Size, Verdict, run
from tests.faults.report import show


def main() -> None:
    """One run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="of the plan; printed at the end"
    )
    given = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that whoever ends it leaves no process behind
    data, console = Path(tempfile.mkdtemp(prefix="slidelane-faults-")), Console()
    verdict = _watched(Size(given.orders), given.seed, data, console)
    show(verdict, console)
    if verdict.findings:
        console.print(f"logs and data are in {data}")
        sys.exit(1)
    shutil.rmtree(data)


def _watched(size: Size, seed: int, data: Path, console: Console) -> Verdict:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=size.orders)

        def tell(seen: Seen) -> None:
            told = f"{seen.stage}: {seen.promised} accepted, {seen.blows} blows, ended"
            bar.update(task, description=told, completed=seen.ended)

        return run(size, seed, data, tell)


if __name__ == "__main__":
    main()
