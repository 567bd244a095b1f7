"""Reads what people wrote about a model: the README and the license that lie in its folder."""

from pathlib import Path
from typing import Final

from broker.settings.config import AlgorithmSettings

NAMES: Final = ("README.md", "README.txt", "README", "LICENSE", "LICENSE.md", "LICENSE.txt")
"""The files that are read, where they are there."""
MAX_BYTES: Final = 64 * 1024
_CUT: Final = "\n… cut: the file in the folder of the model is longer\n"


def texts_of(entry: AlgorithmSettings) -> dict[str, str]:
    """Return the texts in the model folder of an entry, by the names of their files.

    What is no text in UTF-8, and a link that leads out of the folder, is left out. Of a long file
    the first `MAX_BYTES` are returned, and a line that says so.
    """
    if entry.folder is None:
        return {}
    found = {}
    for name in NAMES:
        text = _text(entry.folder, name)
        if text is not None:
            found[name] = text
    return found


def _text(folder: Path, name: str) -> str | None:
    file = folder / name
    try:
        if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
            return None
        with file.open("rb") as content:
            read = content.read(MAX_BYTES + 1)
    except OSError:
        return None
    kept = read[:MAX_BYTES]
    is_cut = len(read) > MAX_BYTES
    if b"\0" in kept:
        return None
    try:
        text = kept.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # the cut may go through the middle of a character, which has four bytes at most
        if not is_cut or error.start < MAX_BYTES - 3:
            return None
        text = kept[: error.start].decode("utf-8-sig")
    if is_cut:
        return text + _CUT
    return text
