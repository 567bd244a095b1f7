"""`python -m tests.faults.run`: a run from the command line, then the table.

The exit status is 1 if anything was lost, delivered twice or wrong.
"""

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.faults.harness import Outcome, Size, Status, run
from tests.faults.report import show


def main() -> None:
    """Make one run and show its outcome."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="of the plan; printed at the end"
    )
    options = parser.parse_args()
    # An exit instead of a sudden end, so that no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    data = Path(tempfile.mkdtemp(prefix="slidelane-faults-"))
    console = Console()
    outcome = _run_with_progress(Size(options.orders), options.seed, data, console)
    show(outcome, console)
    if outcome.findings:
        console.print(f"logs and data are in {data}")
        sys.exit(1)
    shutil.rmtree(data)


def _run_with_progress(size: Size, seed: int, data: Path, console: Console) -> Outcome:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=size.orders)

        def show_status(status: Status) -> None:
            text = f"{status.phase}: {status.accepted} accepted, {status.faults} faults, ended"
            bar.update(task, description=text, completed=status.ended)

        return run(size, seed, data, show_status)


if __name__ == "__main__":
    main()
