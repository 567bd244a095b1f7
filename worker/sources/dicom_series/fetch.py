"""A DICOM series behind one URL for each of its files, brought together into one slide on the shelf.

Owns the fetch of many files at a time. Must not know how one is transferred, nor what makes them one slide.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from threading import Event
from typing import Final

from broker.errors import OrderError, TemporaryError
from broker.orders.fields import without_query
from broker.orders.presigned_url import url_expires_at
from worker.progress import StopWork
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slides import signatures
from worker.sources import asking
from worker.sources.dicom_series import instances
from worker.sources.dicom_series.instances import Arrived
from worker.sources.http.download import Download
from worker.sources.request import FetchRequest
from worker.sources.url import source_key

_AT_ONCE: Final = 4
_TELL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class _File:
    """One of the URLs and how the order calls it. `etag`: the strong ETag of what it gave, empty when unknown."""

    called: str
    url: str = field(repr=False)
    etag: str = ""


def fetch(urls: Sequence[str], errand: FetchRequest) -> LocalSlide:
    """The slide whose files are behind `urls`, on the shelf; all of them must be DICOM, the images of one series.

    Two orders for the same files, in any order, download them once; the servers are asked whether they changed. Raises
    `OrderError` and `TemporaryError`, which name the URL at fault by its place.
    """
    once = {url: _File(f"urls[{number}]", url) for number, url in reversed([*enumerate(urls)])}
    files = sorted(once.values(), key=lambda file: (source_key(file.url), file.url))

    def ask(etags: str) -> tuple[LocalSlide | None, str]:
        with errand.means.shelf.bundle() as bundle:
            return _ask(_known(files, etags), bundle, errand)

    key = asking.hashed("\n".join(["series", *(source_key(file.url) for file in files)]))
    return asking.revalidate(key, "\n".join(file.url for file in files), errand, ask)


def _known(files: Sequence[_File], etags: str) -> list[_File]:
    return (
        [replace(file, etag=etag) for file, etag in zip(files, etags.split(" "), strict=True)]
        if etags
        else [*files]
    )


def _ask(
    files: Sequence[_File], bundle: FileSet, errand: FetchRequest
) -> tuple[LocalSlide | None, str]:
    """The series, None when all of it is unchanged; and the ETags of its files, empty unless each has one."""
    came = _transferred(files, bundle, errand)
    if not came:
        return None, ""
    came |= _transferred(
        [replace(file, etag="") for file in files if file not in came], bundle, errand
    )
    copy = instances.put([arrived for arrived, _ in came.values()], bundle, errand)
    etags = {file.url: etag for file, (_, etag) in came.items()}
    return copy, " ".join(etags[file.url] for file in files) if all(etags.values()) else ""


def _transferred(
    files: Sequence[_File], bundle: FileSet, errand: FetchRequest
) -> dict[_File, tuple[Arrived, str]]:
    """What came, with its ETag; nothing for what is unchanged. The URL that dies first is asked first."""
    tally = _Tally()
    first = sorted(files, key=lambda file: url_expires_at(file.url) or inf)
    with ThreadPoolExecutor(_AT_ONCE, "series") as pool:
        running = {
            file: pool.submit(_transfer, file, bundle, errand, _Share(tally, file))
            for file in first
        }
        try:
            while wait(running.values(), _TELL_S, FIRST_EXCEPTION).not_done:
                errand.watch.progress("fetching", tally.bytes, 0)
                for future in running.values():
                    if future.done():
                        future.result()
            return {file: came for file, future in running.items() if (came := future.result())}
        finally:
            tally.stopped.set()
            pool.shutdown(cancel_futures=True)


def _transfer(
    file: _File, bundle: FileSet, errand: FetchRequest, share: "_Share"
) -> tuple[Arrived, str] | None:
    limit_bytes, shown = errand.means.limit_bytes, without_query(file.url)
    with _named(file), bundle.part(file.called, limit_bytes) as part:
        download = Download(
            errand.means.http, file.url, part, limit_bytes, share, partial(_judge, shown)
        )
        if not download.run(file.etag):
            part.path.unlink()
            return None
        part.settle()
        _judge(shown, part.head())
        return Arrived(f"{file.called}, {shown}", part.path, part.digest), download.etag


def _judge(shown: str, head: bytes) -> None:
    signatures.suffix(head)  # says what it is where that is known
    if not instances.is_dicom(head):
        hint = "give the address of every DICOM file of one series; of another slide, give `url`"
        raise OrderError("not_a_slide", f"{shown} is no DICOM file", hint=hint)


@contextmanager
def _named(file: _File) -> Iterator[None]:
    """Faults say which of the URLs they are about."""
    try:
        yield
    except OrderError as error:
        detail, field = f"{file.called}: {error.detail}", f"source.{file.called}"
        raise OrderError(error.code, detail, hint=error.hint, field=field) from None
    except TemporaryError as error:
        detail = f"{file.called}: {error.detail}"
        raise TemporaryError(
            error.code, detail, hint=error.hint, retry_after_s=error.retry_after_s
        ) from None


class _Tally:
    """What all transfers have brought so far, and whether they are to stop."""

    def __init__(self) -> None:
        self.stopped = Event()
        self.came_bytes: dict[_File, int] = {}

    @property
    def bytes(self) -> int:
        """The bytes of all transfers together."""
        return sum(list(self.came_bytes.values()))


class _Share:
    """The `Watch` of one transfer, which runs in a thread of its own."""

    def __init__(self, tally: _Tally, file: _File) -> None:
        self._tally, self._file = tally, file

    def progress(self, stage: str, done: int, total: int) -> None:
        """Count what came. Raises `StopWork` when another transfer failed, or the errand was stopped."""
        del stage, total
        if self._tally.stopped.is_set():
            raise StopWork
        self._tally.came_bytes[self._file] = done
