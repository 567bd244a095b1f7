"""Brings a model folder from a folder or an address, if its SHA-256 is the one that is stated.

Nothing is fetched while the service runs: a site fetches a model, looks at it, and names its folder
in `worker.algorithms`.
"""

import hashlib
import http.client
import json
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from slidelane.commands.worker_process import CommandError

NETWORKS: Final[tuple[str, ...]] = (
    "torchscript_model.pt",
    "model.ts",
    "model.pt2",
    "model.onnx",
    "instanseg.pt",
)
"""The names of a network's file where model.json does not state one, as the worker looks for it."""
DESCRIPTIONS: Final = ("model.json", "config.json")
MOST_BYTES: Final = 50 * 10**9
MOST_FILES: Final = 10_000
_MOST_DESCRIPTION_BYTES: Final = 10**6
_TIMEOUT_S: Final = 60.0
_PIECE_BYTES: Final = 2**20
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def fetch_algorithm(source: str, sha256: str, folder: Path) -> str:
    """Put the model of `source` into `folder` and return the name of its description.

    `source` is a folder, a zip or tar file, or an https address of one. `sha256` is that of the
    archive, or of the network's file where the source is a folder. `folder` must be new or empty;
    it appears whole or not at all. Raise `CommandError`.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} exists already; name a folder that is new or empty")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
            model = _fetched(source, sha256.lower(), Path(beside))
            description = _description(model)
            if folder.exists():
                folder.rmdir()
            model.rename(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CommandError(f"{folder} cannot be written ({reason})") from None
    return description


def _fetched(source: str, sha256: str, beside: Path) -> Path:
    """Return a folder below `beside` with the model."""
    if "://" in source:
        archive = beside / "archive"
        _download(source, archive)
        _check(_sha256(archive), sha256, "the file at the address")
        return _unpacked(archive, beside / "unpacked")
    path = Path(source)
    if path.is_dir():
        network = _network(path)
        _check(_sha256(network), sha256, network.name)
        copied = beside / "copied"
        _copy(path, copied)
        # what was copied counts, not what was there a moment before
        _check(_sha256(copied / network.relative_to(path)), sha256, network.name)
        return copied
    if not path.is_file():
        raise CommandError(f"{source}: there is no such folder or file")
    archive = beside / "archive"
    shutil.copyfile(path, archive)
    _check(_sha256(archive), sha256, path.name)
    return _unpacked(archive, beside / "unpacked")


def _check(actual: str, expected: str, what: str) -> None:
    if actual != expected:
        raise CommandError(f"{what} has the SHA-256 {actual}, and --sha256 says {expected}")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


class _SafeRedirects(HTTPRedirectHandler):
    """Follows a redirect only to an address that could have been given itself."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Return the next request. Raise `CommandError` for an address without encryption."""
        try:
            _check_address(newurl)
        except CommandError:
            fp.close()  # nobody else does, since this answer is not handed on
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(address: str) -> None:
    """Raise `CommandError` unless nobody on the way can read or change what is sent."""
    try:
        parts = urlsplit(address)
        is_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
    except ValueError:
        raise CommandError("the address is none") from None
    if parts.scheme != "https" and not is_loopback:
        raise CommandError(f"a model is fetched over https, not over {parts.scheme}")


def _download(address: str, target: Path) -> None:
    """Write what the address answers. The query is not repeated: it may hold a signature."""
    _check_address(address)
    shown = address.partition("?")[0]
    request = Request(address, headers={"Accept": "*/*"})  # noqa: S310 - checked above
    try:
        with (
            build_opener(_SafeRedirects()).open(request, timeout=_TIMEOUT_S) as answer,
            target.open("wb") as file,
        ):
            announced = answer.headers.get("Content-Length")
            written = _copy_bounded(answer, file)
    except HTTPError as error:
        error.close()
        raise CommandError(f"{shown}: it is answered with {error.code}") from None
    except URLError as error:
        raise CommandError(f"{shown}: it cannot be reached ({error.reason})") from None
    except (http.client.HTTPException, TimeoutError) as error:
        raise CommandError(f"{shown}: the answer broke off ({type(error).__name__})") from None
    if announced is not None and announced.isdecimal() and int(announced) != written:
        raise CommandError(f"{shown}: {written} of {announced} bytes came; try again")


def _copy_bounded(source: Any, target: BinaryIO) -> int:
    written = 0
    while piece := source.read(_PIECE_BYTES):
        written += len(piece)
        if written > MOST_BYTES:
            raise CommandError(f"it holds more than {MOST_BYTES:,} bytes")
        target.write(piece)
    return written


def _unpacked(archive: Path, folder: Path) -> Path:
    """Return the folder of the model in the archive: its only folder, or all of it."""
    folder.mkdir()
    with _members(archive) as members:
        total_bytes = 0
        for number, (name, content) in enumerate(members):
            if number >= MOST_FILES:
                raise CommandError(f"the archive holds more than {MOST_FILES:,} files")
            target = folder / _safe(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                total_bytes += _copy_bounded(content, file)
            if total_bytes > MOST_BYTES:
                raise CommandError(f"the archive holds more than {MOST_BYTES:,} bytes")
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir():
        return entries[0]
    return folder


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[tuple[str, Any]]]:
    """Provide name and content of each ordinary file. Raise `CommandError` for what is no archive.

    Links and devices are refused: a model needs none.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                yield _zip_members(packed)
            return
        with tarfile.open(archive) as packed_tar:
            yield _tar_members(packed_tar)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise CommandError(
            f"it is no zip or tar archive that can be read ({type(error).__name__})"
        ) from None


def _zip_members(packed: zipfile.ZipFile) -> Iterator[tuple[str, Any]]:
    for member in packed.infolist():
        if member.is_dir():
            continue
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise CommandError(f"the archive's {member.filename[:200]!r} is no ordinary file")
        with packed.open(member) as content:
            yield member.filename, content


def _tar_members(packed: tarfile.TarFile) -> Iterator[tuple[str, Any]]:
    for member in packed:
        if member.isdir():
            continue
        content = None
        if member.isreg():
            content = packed.extractfile(member)
        if content is None:
            raise CommandError(f"the archive's {member.name[:200]!r} is no ordinary file")
        with content:
            yield member.name, content


def _safe(name: str) -> PurePosixPath:
    """Return the path of a member. Raise `CommandError` for one that leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise CommandError(f"the archive's {name[:200]!r} leads out of it")
    return path


def _copy(source: Path, target: Path) -> None:
    """Copy the ordinary files of a model folder, which has no folders in it but the encoder's."""
    total_bytes = 0
    for number, file in enumerate(sorted(source.rglob("*"))):
        if number >= MOST_FILES:
            raise CommandError(f"{source} holds more than {MOST_FILES:,} files")
        if file.is_symlink() or not file.is_file():
            continue
        total_bytes += file.stat().st_size
        if total_bytes > MOST_BYTES:
            raise CommandError(f"{source} holds more than {MOST_BYTES:,} bytes")
        copied = target / file.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)


def _network(folder: Path) -> Path:
    """Return the network's file of a model folder."""
    named = _stated_file(folder)
    names = NETWORKS
    if named:
        names = (named,)
    for name in names:
        if (folder / name).is_file() and not (folder / name).is_symlink():
            return folder / name
    raise CommandError(f"{folder} has no network: {', '.join(names)}")


def _stated_file(folder: Path) -> str:
    """Return the `file` of model.json, or an empty text."""
    description = folder / "model.json"
    if not description.is_file() or description.stat().st_size > _MOST_DESCRIPTION_BYTES:
        return ""
    try:
        stated = json.loads(description.read_bytes())
    except (ValueError, RecursionError):
        return ""
    if not isinstance(stated, dict) or not isinstance(stated.get("file"), str):
        return ""
    return str(_safe(stated["file"]))


def _description(model: Path) -> str:
    for name in DESCRIPTIONS:
        if (model / name).is_file():
            return name
    raise CommandError(f"it holds neither {' nor '.join(DESCRIPTIONS)}: it is no model folder")
