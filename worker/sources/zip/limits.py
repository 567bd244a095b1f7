"""What the directory of a zip archive may say before anything is unpacked: how many files, where, of what names.

Must not know how files are unpacked nor what they are for.
"""

import re
import stat
import unicodedata
import zipfile
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Final

from broker.errors import OrderError

_MAX_FILES: Final = 5000
_MAX_NAME, _MAX_DEPTH = 1000, 32
_MAX_PART_BYTES: Final = 255  # of a name between two slashes, on every usual file system
_SHOWN: Final = 100
_LOCAL_HEADER_BYTES: Final = 30
_METHODS: Final = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # zipfile unpacks the others without a bound on memory
_ENCRYPTED: Final = 0x2041  # the bits for a password, strong encryption and a masked directory
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def files(archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files in the archive by their names: relative, without `.` and `..`, with forward slashes.

    Raises `OrderError("not_a_slide")` for an archive that no honest packer makes.
    """
    infos = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    if len(infos) > _MAX_FILES:
        raise refused(f"it holds {len(infos)} files; at most {_MAX_FILES} are unpacked")
    _refuse_overlaps(infos, archive.start_dir)
    for info in infos:
        _refuse_odd(info)
    named = {_name(info): info for info in infos}
    _refuse_same(named, len(infos))
    return named


def refused(detail: str) -> OrderError:
    """An archive that is not unpacked, for `detail`."""
    hint = "zip the slide's own files, stored or by deflate, without links and passwords"
    return OrderError("not_a_slide", f"The zip is not unpacked: {detail}", hint=hint)


def shown(name: PurePosixPath | str) -> str:
    """A name from an archive as it may be shown."""
    return repr(str(name)[:_SHOWN])


def _refuse_overlaps(infos: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Each file must end before the next begins: one that many share unpacks to more than any ratio shows."""
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if (
            info.header_offset < 0
            or info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > end
        ):
            raise refused(f"{shown(info.filename)} overlaps another file or the end")
        end = info.header_offset


def _refuse_odd(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise refused(f"{shown(info.filename)} is a link or a device, no file")
    if info.flag_bits & _ENCRYPTED:
        raise refused(f"{shown(info.filename)} is encrypted")
    if info.compress_type not in _METHODS:
        raise refused(
            f"{shown(info.filename)} is packed by method {info.compress_type}, not stored or by deflate"
        )


def _name(info: zipfile.ZipInfo) -> PurePosixPath:
    """The member's name with forward slashes and composed characters. Raises `OrderError` where it leads elsewhere."""
    name = unicodedata.normalize("NFC", info.orig_filename.replace("\\", "/"))
    path = PurePosixPath(name)
    odd = (
        not 0 < len(path.parts) <= _MAX_DEPTH
        or path.is_absolute()
        or ".." in path.parts
        or re.match("[A-Za-z]:", name)
    )
    if (
        odd
        or len(name) > _MAX_NAME
        or _CONTROLS.search(name)
        or any(len(part.encode()) > _MAX_PART_BYTES for part in path.parts)
    ):
        raise refused(f"{shown(name)} is no name for a file in it")
    return path


def _refuse_same(names: Collection[PurePosixPath], count: int) -> None:
    """No two files of one name, and none that is a folder as well."""
    if len(names) < count:
        raise refused(f"{count - len(names)} of its files have the name of another")
    for name in names:
        for folder in name.parents:
            if folder in names:
                raise refused(f"{shown(folder)} is both a file and a folder")
