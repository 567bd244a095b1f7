"""The files that belong to a slide of several: which they are, and that none of them leads out of its folder.

Owns that rule for slides on allowed paths and in archives alike. Must not know what the files hold.
"""

import re
from itertools import islice
from pathlib import Path
from typing import Final

from broker.errors import OrderError

FOLDERED: Final = ".mrxs"
"""Its files are in the folder of its own name."""
FLANKED: Final = (".vms", ".vmu")
"""Their files are beside them."""
_SERIES: Final = ".dcm"  # OpenSlide looks for the rest of the series beside it
_MOST: Final = 5000
_TEXTS: Final = (".ini", *FLANKED)
_TEXT_BYTES: Final = 2**20  # OpenSlide reads no longer ones
_UPWARDS: Final = re.compile(rb"\.\.[/\\]")


def of(main: Path) -> list[Path]:
    """The files that a reader of `main` may open besides it, links among them. Raises `OrderError`: `not_a_slide`."""
    kind = main.suffix.lower()
    if kind == FOLDERED:
        found = main.with_suffix("").rglob("*")
    elif kind in (*FLANKED, _SERIES):
        found = main.parent.iterdir()
    else:
        return []
    files = sorted(path for path in islice(found, _MOST + 1) if path != main and not path.is_dir())
    if len(files) > _MOST:
        raise OrderError(
            "not_a_slide",
            f"{main.name} lies beside more than {_MOST} files",
            hint="give it its own folder",
        )
    return files


def is_part_of_the_slide(main: Path) -> bool:
    """Whether all its neighbours hold pixels of it; beside a DICOM file may lie any other series."""
    return main.suffix.lower() != _SERIES


def refuse_upwards(path: Path) -> None:
    """OpenSlide opens what these texts name, wherever that leads. Raises `OrderError`: `not_a_slide`."""
    if path.suffix.lower() not in _TEXTS:
        return
    with path.open("rb") as file:
        text = file.read(_TEXT_BYTES + 1)
    if len(text) > _TEXT_BYTES or _UPWARDS.search(text):
        raise OrderError(
            "not_a_slide", f"{path.name!r} is too long, or names files outside of its own folder"
        )
