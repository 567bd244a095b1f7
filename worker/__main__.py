"""Run one Celery worker.

`python -m worker gpu` classifies; `python -m worker courier` fetches, delivers and runs the
scheduler. `python -m worker viewer` is no Celery worker: it shows slides over HTTP.
"""

import argparse
import os
import sys

from worker.stop_signals import exit_on_signals


def main() -> None:
    """Run one Celery worker in this process until it is asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("role", choices=("gpu", "courier", "viewer"))
    role = parser.parse_args().role
    if role == "viewer":
        _run_viewer()
        return
    stop_signals = exit_on_signals()
    # Threads of OpenCV wait by asking for the core again and again; the pictures here are small.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    # Importing takes seconds, in which a signal may already come.
    from broker.settings.config import ConfigError
    from worker.celery_worker import run_worker

    try:
        status = run_worker(role, stop_signals)
    except ConfigError as error:
        sys.exit(f"slidelane: {error}")
    sys.exit(status)


def _run_viewer() -> None:
    from worker.viewer.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
