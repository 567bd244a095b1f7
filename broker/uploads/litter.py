"""Files that file managers put beside the files of people. None of them is a part of a slide."""

import re
from typing import Final

_LITTER: Final = re.compile(
    r"(^|[/\\])(__MACOSX[/\\].*|\.DS_Store|\._[^/\\]*|Thumbs\.db|desktop\.ini|DICOMDIR)$",
    re.IGNORECASE,
)
"""Of macOS, also the copies of attributes (AppleDouble) that it writes as `._NAME` on other disks;
of Windows; and the directory of a DICOM medium, which is a DICOM file without an image."""


def is_litter(name: str) -> bool:
    """Return whether file managers make files of this name, and no scanner does.

    `name`: as the file was called first, with or without folders, `/` or `\\` between them.
    """
    return _LITTER.search(name) is not None
