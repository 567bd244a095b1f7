"""Another process that holds something of a shelf until it is killed."""

import subprocess
import sys
from pathlib import Path
from typing import Self

_HOLD = """
import sys, pathlib
from worker.slide_cache.cache import SlideCache
with SlideCache(pathlib.Path(sys.argv[1]), 10**9).{what} as held:
    {then}
    print("held", flush=True)
    sys.stdin.read()
"""


class Held:
    """A real process: it enters `what` of the shelf, does `then`, and waits."""

    def __init__(self, folder: Path, what: str, then: str = "") -> None:
        script = _HOLD.format(what=what, then=then)
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout
        assert self._process.stdout.readline() == b"held\n"
        return self

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __exit__(self, *exc: object) -> None:
        self.kill()
