"""Names of files in any Unicode form.

macOS stores names with accents as letter and accent (NFD), most others as one character (NFC).
"""

import unicodedata
from pathlib import Path


def normalized(text: str) -> str:
    """Return the text in one form (NFC), so that texts of the same letters are equal."""
    return unicodedata.normalize("NFC", text)


def entries_with_letters(folder: Path, name: str) -> list[str]:
    """Return the entries of a folder that have the letters of `name`, however they are encoded.

    It is `name` alone where that exists, and empty where the folder cannot be listed.
    """
    letters = normalized(name)
    try:
        entries = [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
    if name in entries:
        return [name]
    return sorted(entry for entry in entries if normalized(entry) == letters)
