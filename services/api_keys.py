"""The API keys: those of the settings, and those of a file or folder that is read when it changes.

A file that cannot be read or is wrong changes nothing: the keys that were read last stay valid, and
the log and `/readyz` say what is wrong.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from pydantic import TypeAdapter, ValidationError

from broker.settings.config import ApiKey, ConfigError

LOOK_AGAIN_S = 1.0
"""How long a change of the file may go unnoticed."""
_MAX_FILES = 1000
_MAX_BYTES = 1_000_000
_KEYS = TypeAdapter(tuple[ApiKey, ...])
_Version = tuple[tuple[str, int, int, int], ...]
"""Of each file its name, inode, size in bytes and time of the last change in ns."""
_log = logging.getLogger(__name__)


class KeysFileError(Exception):
    """The keys cannot be read; the message says which file and why, and repeats no content."""


class ApiKeys:
    """All keys that are valid now. Threads share it."""

    def __init__(self, keys: Sequence[ApiKey], source: Path | None) -> None:
        self._keys = tuple(keys)
        self._source = source
        self._from_source: tuple[ApiKey, ...] = ()
        self._version: _Version | None = None
        self._looked_at = 0.0
        self._lock = Lock()
        self.fault = ""
        """What is wrong with the file; empty where nothing is."""
        if source is not None:
            self._start(source)

    @property
    def are_configured(self) -> bool:
        """Return whether callers need a key, also while the file holds none."""
        return bool(self._keys) or self._source is not None

    def current(self) -> tuple[ApiKey, ...]:
        """Return the keys. The file is looked at once in `LOOK_AGAIN_S`."""
        if self._source is not None and time.monotonic() - self._looked_at >= LOOK_AGAIN_S:
            with self._lock:
                self._look_again(self._source)
        return self._keys + self._from_source

    def _start(self, source: Path) -> None:
        """Read the file for the first time. Raise `ConfigError`."""
        try:
            self._version = _version(source)
            self._from_source = _read(source)
        except (KeysFileError, OSError) as error:
            raise ConfigError(f"services.keys_file: {_text(error)}") from None
        self._looked_at = time.monotonic()

    def _look_again(self, source: Path) -> None:
        self._looked_at = time.monotonic()
        try:
            version = _version(source)
            if version == self._version and not self.fault:
                return
            keys = _read(source)
        except (KeysFileError, OSError) as error:
            self._report(_text(error))
            return
        self._version = version
        self._from_source = keys
        self.fault = ""
        _log.info("services.keys_file was read again: %d keys", len(keys))

    def _report(self, fault: str) -> None:
        text = f"services.keys_file: {fault}; the keys that were read before stay valid"
        if text != self.fault:
            _log.error("%s", text)
        self.fault = text


def _files(source: Path) -> list[Path]:
    """Return the file itself, or the `*.json` files of a folder, by name."""
    if not source.is_dir():
        return [source]
    files = sorted(path for path in source.glob("*.json") if not path.name.startswith("."))
    if len(files) > _MAX_FILES:
        raise KeysFileError(f"{source} has more than {_MAX_FILES} files")
    return files


def _version(source: Path) -> _Version:
    """Return what changes with the content. Raise `OSError` or `KeysFileError`."""
    version = []
    for path in _files(source):
        status = path.stat()
        version.append((path.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(version)


def _read(source: Path) -> tuple[ApiKey, ...]:
    """Return the keys of every file. Raise `OSError` or `KeysFileError`."""
    keys: list[ApiKey] = []
    for path in _files(source):
        keys += _read_file(path)
    return tuple(keys)


def _read_file(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of one file: a list of them, or one alone."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise KeysFileError(f"{path} is larger than {_MAX_BYTES} bytes")
    if content.lstrip().startswith(b"{"):
        content = b"[" + content + b"]"
    try:
        return _KEYS.validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise KeysFileError(f"{path}: {place} {fault['msg']}".replace("  ", " ")) from None


def _text(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename} cannot be read ({error.strerror})"
    return str(error)
