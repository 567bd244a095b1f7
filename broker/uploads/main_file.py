"""Which of the files that were uploaded together a reader opens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

_MAIN_SUFFIXES: Final = (".mrxs", ".vms", ".vmu")
"""Of slides that have their other files beside them, or in a folder of their name."""


def main_file(paths: Sequence[Path]) -> Path:
    """Return the index of a slide of several files, else the largest file.

    Of a DICOM series, any file leads a reader to the others, and the largest shows the slide.
    """
    for path in paths:
        if path.suffix.lower() in _MAIN_SUFFIXES:
            return path
    return max(paths, key=lambda path: path.stat().st_size)
