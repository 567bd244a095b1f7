"""Check the directory of a zip archive before anything is unpacked.

It may hold so many files, and only names that do not lead out of the archive.
"""

import re
import stat
import unicodedata
import zipfile
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Final

from worker.slides.errors import NotASlideError

_MAX_FILES: Final = 5000
_MAX_NAME_CHARS: Final = 1000
_MAX_DEPTH: Final = 32
_MAX_PART_BYTES: Final = 255  # of a name between two slashes, on every usual file system
_SHOWN_CHARS: Final = 100
_LOCAL_HEADER_BYTES: Final = 30
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""zipfile unpacks other methods without a limit of memory."""
_ENCRYPTED: Final = 0x2041  # the bits for a password, strong encryption and a masked directory
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def files(archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the files in the archive by their names.

    Names are relative, without `.` and `..`, with forward slashes. Raise `NotASlideError` for an
    archive that is not safe to unpack.
    """
    infos = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    if len(infos) > _MAX_FILES:
        raise refusal(f"it holds {len(infos)} files; at most {_MAX_FILES} are unpacked")
    _check_no_overlaps(infos, archive.start_dir)
    for info in infos:
        _check_kind(info)
    named = {_name(info): info for info in infos}
    _check_no_duplicates(named, len(infos))
    return named


def refusal(detail: str) -> NotASlideError:
    """Return the error for an archive that is not unpacked."""
    return NotASlideError(
        f"The zip is not unpacked: {detail}",
        hint="zip the slide's own files, stored or by deflate, without links and passwords",
    )


def format_name(name: PurePosixPath | str) -> str:
    """Return a name from an archive as errors may show it."""
    return repr(str(name)[:_SHOWN_CHARS])


def _check_no_overlaps(infos: Sequence[zipfile.ZipInfo], directory_offset: int) -> None:
    """Raise `NotASlideError` unless each file ends before the next begins.

    Data that many files share would unpack to more than any ratio shows.
    """
    end = directory_offset
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        file_end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
        if info.header_offset < 0 or file_end > end:
            raise refusal(f"{format_name(info.filename)} overlaps another file or the end")
        end = info.header_offset


def _check_kind(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise refusal(f"{format_name(info.filename)} is a link or a device, no file")
    if info.flag_bits & _ENCRYPTED:
        raise refusal(f"{format_name(info.filename)} is encrypted")
    if info.compress_type not in _METHODS:
        raise refusal(
            f"{format_name(info.filename)} is packed by method {info.compress_type}, "
            "not stored or by deflate"
        )


def _name(info: zipfile.ZipInfo) -> PurePosixPath:
    """Return the file's name with forward slashes and composed characters.

    Raise `NotASlideError` for a name that leads out of the archive or that no disk can hold.
    """
    name = unicodedata.normalize("NFC", info.orig_filename.replace("\\", "/"))
    path = PurePosixPath(name)
    leads_elsewhere = path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name)
    too_long = (
        len(path.parts) > _MAX_DEPTH
        or len(name) > _MAX_NAME_CHARS
        or any(len(part.encode(errors="replace")) > _MAX_PART_BYTES for part in path.parts)
    )
    if not path.parts or leads_elsewhere or too_long or _CONTROLS.search(name):
        raise refusal(f"{format_name(name)} is no name for a file in it")
    return path


def _check_no_duplicates(names: Collection[PurePosixPath], count: int) -> None:
    """Raise `NotASlideError` for two files of one name, or for a file that is a folder as well."""
    if len(names) < count:
        raise refusal(f"{count - len(names)} of its files have the name of another")
    for name in names:
        for folder in name.parents:
            if folder in names:
                raise refusal(f"{format_name(folder)} is both a file and a folder")
