"""Another process that holds a lock of a slide cache until it is killed."""

import subprocess
import sys
from pathlib import Path
from typing import Self

_HOLD = """
import sys, pathlib
from worker.slide_cache.cache import SlideCache
with SlideCache(pathlib.Path(sys.argv[1]), 10**9).{call} as held:
    {then}
    print("held", flush=True)
    sys.stdin.read()
"""


class CacheHolder:
    """A real process that enters the context `call` of the cache, runs `then`, and waits.

    `call`: a method of `SlideCache` with its arguments, as source code. `then`: source code that
    may use the value of the context as `held`.
    """

    def __init__(self, folder: Path, call: str, then: str = "") -> None:
        script = _HOLD.format(call=call, then=then)
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
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.communicate()

    def __exit__(self, *exc: object) -> None:
        self.kill()
