"""An S3-compatible bucket as the storage: AWS, MinIO, Ceph and alike. The only user of s3fs.

Credentials, endpoint and region come the usual ways of s3fs' library (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, a role …). None of them is read here or gets into a message.

An object appears with its last byte, so nobody sees a part of one. A result is several objects;
the record names it after the last one is there.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from broker.errors import TemporaryError
from broker.file_storage.interface import (
    PAYLOADS,
    RESULTS,
    OnProgress,
    StoredFile,
    byte_ranges,
    checked_key,
    missing,
    unreachable,
)
from broker.settings.section import ConfigError

_PART_BYTES = 2**23
_PARTS_AT_ONCE = 2
_CONNECT_S = 5
_READ_S = 15
_TRIES = 3
_SHARE_S = 120.0
"""How long uploads are tried again: to make a result again may take hours."""

_PAUSE_S = 1.0
_log = logging.getLogger(__name__)


class S3Storage:
    """The objects below `s3://BUCKET/PREFIX`. Files are in `folder` until they are uploaded."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._url = url
        self._root = url.removeprefix("s3://").rstrip("/")
        self._s3 = _client()

    def share(self, key: str, on_progress: OnProgress) -> None:
        """Upload the file or folder file by file, then remove it from this machine."""
        made = self.folder / checked_key(key)
        files = [made]
        if made.is_dir():
            files = sorted(path for path in made.rglob("*") if path.is_file())
        progress = _Progress(on_progress, sum(file.stat().st_size for file in files))
        deadline = monotonic() + _SHARE_S
        try:
            for file in files:
                while not self._upload(file, progress, deadline):
                    # lets `on_progress` end the sharing between two tries
                    progress.relative_update(0)
        finally:
            if made.is_dir():
                shutil.rmtree(made)
            else:
                made.unlink()

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Yield a downloaded copy, which is removed at the end of the context."""
        order_id = checked_key(key).split("/")[1].partition(".")[0]
        folder = self.folder / PAYLOADS
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(
            prefix=f".{order_id}.", dir=folder, ignore_cleanup_errors=True
        ) as temporary:
            copy = Path(temporary) / key.rpartition("/")[2]
            self._download(key, copy)
            yield copy

    def find(self, key: str) -> StoredFile | None:
        """Return what the server tells of the object at `key`, or None."""
        with self._errors_translated():
            try:
                info = self._s3.info(self._object(key))
            except FileNotFoundError:
                # the same is answered for a bucket that is gone, which is no missing file
                self._s3.call_s3("head_bucket", Bucket=self._root.partition("/")[0])
                return None
        if info["type"] != "file":
            return None
        return StoredFile(info["size"], info["ETag"])

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes, one request for each part. What a key stands for never changes."""
        for first, stop in byte_ranges(start, end):
            with self._errors_translated():
                part: bytes = self._s3.cat_file(self._object(key), start=first, end=stop)
            yield part

    def remove(self, key: str) -> None:
        """Delete the object at the key, and all below it."""
        with self._errors_translated():
            for name in self._s3.find(self._object(key)):
                self._s3.rm_file(name)

    def delete(self, order_id: str) -> None:
        """Delete every object of the order."""
        with self._errors_translated():
            results = self._s3.find(self._object(f"{RESULTS}/{order_id}"))
            payloads = self._s3.find(self._object(PAYLOADS), prefix=f"{order_id}.")
            for name in (*results, *payloads):
                self._s3.rm_file(name)

    def unshared_orders(self) -> Iterator[str]:
        """Yield the ids of orders whose files a process that died left on this machine."""
        ids = {path.name for path in (self.folder / RESULTS).glob("[!.]*")}
        for path in (self.folder / PAYLOADS).glob("*"):
            ids.add(path.name.lstrip(".").partition(".")[0])
        yield from ids

    def _upload(self, file: Path, progress: "_Progress", deadline: float) -> bool:
        """Upload one file. Return whether it succeeded; raise its fault after the deadline."""
        target = self._object(str(file.relative_to(self.folder)))
        try:
            with self._errors_translated():
                self._s3.put_file(
                    str(file),
                    target,
                    callback=progress,
                    chunksize=_PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        except TemporaryError as error:
            if monotonic() > deadline:
                raise
            _log.warning("a file is uploaded once more: %s", error.detail)
            sleep(_PAUSE_S)
            return False
        return True

    def _download(self, key: str, to: Path) -> None:
        root = self._object(key)
        with self._errors_translated():
            names = self._s3.find(root)
        if not names:
            raise missing(key)
        for name in names:
            copy = to
            below = name.removeprefix(root).lstrip("/")
            if below:
                copy = to / below
            copy.parent.mkdir(parents=True, exist_ok=True)
            with self._errors_translated():
                self._s3.get_file(name, str(copy), max_concurrency=1)

    def _object(self, key: str) -> str:
        return f"{self._root}/{checked_key(key)}"

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        """Raise every fault of s3fs as `TemporaryError`, without its text, which may hold a secret.

        All of them are worth another try.
        """
        try:
            yield
        except _faults() as error:
            reason = type(error).__name__
            if isinstance(error, FileNotFoundError):
                reason = "there is no such bucket or object"
            raise unreachable(
                f"the storage {self._url} does not do what is asked ({reason})"
            ) from None


class _Progress:
    """Passes the bytes that s3fs has uploaded to `OnProgress`; has the shape of fsspec's Callback.

    All files of a result are counted together; one that is uploaded again counts again.
    """

    def __init__(self, on_progress: OnProgress, total_bytes: int) -> None:
        self._on_progress = on_progress
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def set_size(self, size: int) -> None:
        """Ignore the size of one file."""

    def relative_update(self, inc: int = 1) -> None:
        """Count this many bytes more."""
        self._done_bytes += inc
        self._on_progress(self._done_bytes, self._total_bytes)


def _client() -> Any:
    """Return a client; it opens no connection yet. It caches no list: other machines write too."""
    try:
        from s3fs import S3FileSystem
    except ImportError:
        raise ConfigError(
            "broker.storage: s3:// needs s3fs; `pip install 'slidelane[s3]'` brings it"
        ) from None
    config = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "retries": {"total_max_attempts": 1},
    }
    client = S3FileSystem(skip_instance_cache=True, use_listings_cache=False, config_kwargs=config)
    client.retries = _TRIES
    return client


@cache
def _faults() -> tuple[type[Exception], ...]:
    """Return what s3fs raises for a server that refuses, is silent or cannot be reached."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError
    from botocore.exceptions import ClientError as RefusedError

    return OSError, BotoCoreError, RefusedError, ClientError
