"""`python -m worker.viewer`: shows the slides of this machine over HTTP until it is stopped."""

import sys

from broker.settings.config import ConfigError
from worker.viewer.server import run_viewer


def main() -> None:
    """Serve until SIGINT or SIGTERM. Exit with a message where a setting cannot work."""
    try:
        run_viewer()
    except ConfigError as error:
        sys.exit(f"slidelane: {error}")


if __name__ == "__main__":
    main()
