"""`python -m demo.sample_slide`: writes a small sample slide into the data folder if there is none.

`make serve` runs it, so that the first order can name a slide of this machine.
"""

import os
import sys
from pathlib import Path

from broker.data_folder import make_private
from broker.settings.config import ConfigError, load
from demo.slide import make_sample_slide
from slidelane.serve import SAMPLE

WIDTH_PX = 6000
HEIGHT_PX = 4000


def main() -> None:
    """Write `DATA/sample/sample.svs`. Exit with a sentence and status 1 where that fails."""
    try:
        data = load().broker.data
        make_private(data)
        write_sample_slide(data / SAMPLE)
    except ConfigError as error:
        sys.exit(f"slidelane: {error}")
    except OSError as error:
        sys.exit(f"slidelane: no sample slide can be written below broker.data: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def write_sample_slide(path: Path) -> None:
    """Write the slide to `path` unless it exists. A slide that is not complete has another name."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        make_sample_slide(unfinished, WIDTH_PX, HEIGHT_PX)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
