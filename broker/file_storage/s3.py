"""An S3-compatible bucket as the storage: AWS, MinIO, Ceph and alike. The only module that speaks to it, through s3fs.

Owns how files become objects and come back. Credentials, endpoint and region are the usual ones of its library
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, a role …); none is read here, and none gets into a message.

An object appears with its last byte, so none is ever seen in part. A result is several objects; the record names it
when the last one is there.
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
    PARCELS,
    RESULTS,
    OnProgress,
    StoredFile,
    checked_key,
    pieces,
    unreachable,
)
from broker.settings.config import ConfigError

_PART_BYTES = 2**23
_PARTS_AT_ONCE = 2
_CONNECT_S, _READ_S, _TRIES = 5, 15, 3
_PATIENCE_S, _PAUSE_S = 120.0, 1.0
_log = logging.getLogger(__name__)


class S3Storage:
    """The objects below `s3://BUCKET/PREFIX`. What is made for it lies in `folder` until it is there."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self.folder = url, folder
        self._root = url.removeprefix("s3://").rstrip("/")
        self._objects = _client()

    def share(self, key: str, told: OnProgress) -> None:
        """Copy it to the bucket file by file, then remove it here."""
        made = self.folder / checked_key(key)
        files = (
            sorted(path for path in made.rglob("*") if path.is_file()) if made.is_dir() else [made]
        )
        progress, deadline = (
            _Progress(told, sum(file.stat().st_size for file in files)),
            monotonic() + _PATIENCE_S,
        )
        try:
            for file in files:
                while not self._put(file, progress, deadline):
                    progress.relative_update(0)
        finally:
            if made.is_dir():
                shutil.rmtree(made)
            else:
                made.unlink()

    def _put(self, file: Path, progress: "_Progress", deadline: float) -> bool:
        """Whether it is there now. To make it again may take hours, so it is tried until the deadline."""
        at = self._at(str(file.relative_to(self.folder)))
        try:
            with self._answering():
                self._objects.put_file(str(file), at, callback=progress, chunksize=_PART_BYTES,
                                       max_concurrency=_PARTS_AT_ONCE)  # fmt: skip
        except TemporaryError as error:
            if monotonic() > deadline:
                raise
            _log.warning("a file is put once more: %s", error.detail)
            sleep(_PAUSE_S)
            return False
        return True

    @contextmanager
    def near(self, key: str) -> Iterator[Path]:
        """A copy, which goes with the context."""
        order_id = checked_key(key).split("/")[1].partition(".")[0]
        rooms = self.folder / PARCELS
        rooms.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(
            prefix=f".{order_id}.", dir=rooms, ignore_cleanup_errors=True
        ) as room:
            copy = Path(room) / key.rpartition("/")[2]
            self._fetch(key, copy)
            yield copy

    def _fetch(self, key: str, to: Path) -> None:
        with self._answering():
            names = self._objects.find(self._at(key))
        if not names:
            raise unreachable(
                f"the storage has no {key}, which the record names",
                "put it back, or cancel the order",
            )
        for name in names:
            copy = to / tail if (tail := name.removeprefix(self._at(key)).lstrip("/")) else to
            copy.parent.mkdir(parents=True, exist_ok=True)
            with self._answering():
                self._objects.get_file(name, str(copy), max_concurrency=1)

    def find(self, key: str) -> StoredFile | None:
        """Asks for the object's head."""
        with self._answering():
            try:
                told = self._objects.info(self._at(key))
            except FileNotFoundError:
                self._objects.call_s3(
                    "head_bucket", Bucket=self._root.partition("/")[0]
                )  # a lost bucket says the same
                return None
        return StoredFile(told["size"], told["ETag"]) if told["type"] == "file" else None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """One request for each piece: what a key stands for never changes."""
        for at, until in pieces(start, end):
            with self._answering():
                piece: bytes = self._objects.cat_file(self._at(key), start=at, end=until)
            yield piece

    def forget(self, order_id: str) -> None:
        """Remove every object of the order."""
        with self._answering():
            names = self._objects.find(self._at(f"{RESULTS}/{order_id}"))
            for name in (*names, *self._objects.find(self._at(PARCELS), prefix=f"{order_id}.")):
                self._objects.rm_file(name)

    def left_behind(self) -> Iterator[str]:
        """Orders of which something was being made or copied here when its process died."""
        names = {path.name for path in (self.folder / RESULTS).glob("[!.]*")}
        yield from names | {
            path.name.lstrip(".").partition(".")[0] for path in (self.folder / PARCELS).glob("*")
        }

    def _at(self, key: str) -> str:
        return f"{self._root}/{checked_key(key)}"

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Whatever goes wrong on the way is worth another try. Its own words may hold a secret and go no further."""
        try:
            yield
        except _faults() as error:
            raise self._silent(error) from None

    def _silent(self, error: BaseException) -> TemporaryError:
        missing = isinstance(error, FileNotFoundError)
        why = "there is no such bucket or object" if missing else type(error).__name__
        return unreachable(f"the storage {self._url} does not do what is asked ({why})")


class _Progress:
    """What s3fs calls with every part that has arrived, in the shape of an fsspec callback."""

    def __init__(self, told: OnProgress, total_bytes: int) -> None:
        self._told, self._done, self._total = told, 0, total_bytes

    def set_size(self, size: int) -> None:
        """Of one file; they are counted together, and one that is put once more counts again."""

    def relative_update(self, inc: int = 1) -> None:
        """So many bytes more."""
        self._done += inc
        self._told(self._done, self._total)


def _client() -> Any:
    """Opens no connection. Nothing it lists is remembered: other machines write too."""
    try:
        from s3fs import S3FileSystem
    except ImportError:
        raise ConfigError(
            "broker.storage: s3:// needs s3fs; `pip install 'slidelane[s3]'` brings it"
        ) from None
    timeouts = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "retries": {"total_max_attempts": 1},
    }
    client = S3FileSystem(
        skip_instance_cache=True, use_listings_cache=False, config_kwargs=timeouts
    )
    client.retries = _TRIES
    return client


@cache
def _faults() -> tuple[type[Exception], ...]:
    """What s3fs lets through of a server that refuses, is silent, or cannot be asked."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError
    from botocore.exceptions import ClientError as RefusedError

    return OSError, BotoCoreError, RefusedError, ClientError
