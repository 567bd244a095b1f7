"""The scratch folder of one run of a program, on a disk with room for its slide."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from worker.disk import in_use, try_lock

_PREFIX: Final = "run-"
_LOCK: Final = "lock"


@contextmanager
def program_scratch(parent: Path) -> Iterator[Path]:
    """Yield a new folder below `parent`, which is made; it is removed afterwards.

    Folders that killed workers have left are removed first. A lock tells them from those in use,
    because the workers of several containers may share the disk.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_left(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        new = folder / f"{_LOCK}.new"
        with new.open("ab") as lock:
            try_lock(lock)
            new.rename(folder / _LOCK)  # whoever finds it finds it locked
            run = folder / "run"
            run.mkdir()
            yield run
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if not in_use(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)
