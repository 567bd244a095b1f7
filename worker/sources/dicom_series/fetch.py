"""A DICOM series behind one URL for each of its files, which becomes one slide."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Final

import requests

from broker.errors import OrderError, TemporaryError
from broker.orders.fields import without_query
from broker.orders.presigned_url import url_expires_at
from worker.progress import Progress, StopWork
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.file_set import FileSet
from worker.slides import signatures
from worker.slides.errors import NotASlideError
from worker.sources.dicom_series import instances
from worker.sources.dicom_series.instances import DownloadedFile
from worker.sources.http.download import Download
from worker.sources.remote_slide import Downloaded, sha256_hex
from worker.sources.url import source_key

_MAX_DOWNLOADS: Final = 4
_REPORT_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class _RemoteInstance:
    """One of the URLs.

    `name`: its place in the order, such as `urls[3]`. `etag`: the strong ETag that is known.
    """

    name: str
    url: str = field(repr=False)
    etag: str = ""

    @property
    def safe_url(self) -> str:
        """The URL without its query."""
        return without_query(self.url)


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """A slide whose files are behind `urls`: all of them DICOM, the images of one series.

    Errors name the URL at fault by its place in the order.
    """

    session: requests.Session
    urls: tuple[str, ...] = field(repr=False)
    limit_bytes: int
    progress: Progress
    fresh_s: float = 0.0

    @property
    def cache_key(self) -> str:
        """The URLs in any order and without their signatures, hashed."""
        keys = [source_key(instance.url) for instance in self._instances()]
        return sha256_hex("\n".join(["series", *keys]))

    @property
    def fingerprint(self) -> str:
        """The URLs in any order, hashed."""
        return sha256_hex("\n".join(instance.url for instance in self._instances()))

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Download the series unless no file has changed.

        `known_etag` holds the ETags of all files.
        """
        instances_to_check = self._instances()
        if known_etag:
            etags = known_etag.split(" ")
            instances_to_check = [
                replace(instance, etag=etag)
                for instance, etag in zip(instances_to_check, etags, strict=True)
            ]
        with cache.file_set() as files:
            downloads = self._download_changed(instances_to_check, files)
            if not downloads:
                return Downloaded(None, known_etag)
            unchanged = [each for each in instances_to_check if each.url not in downloads]
            downloads |= self._download_changed(
                [replace(instance, etag="") for instance in unchanged], files
            )
            downloaded_files = [downloads[url] for url in downloads]
            slide = instances.put_into_cache(downloaded_files, files, cache, pins, self.progress)
        etags = [downloads[instance.url].etag for instance in instances_to_check]
        if not all(etags):
            return Downloaded(slide, "")
        return Downloaded(slide, " ".join(etags))

    def _instances(self) -> list[_RemoteInstance]:
        """Return one instance for each different URL, in the order of their cache keys."""
        first_places: dict[str, _RemoteInstance] = {}
        for number, url in enumerate(self.urls):
            first_places.setdefault(url, _RemoteInstance(f"urls[{number}]", url))
        return sorted(
            first_places.values(), key=lambda instance: (source_key(instance.url), instance.url)
        )

    def _download_changed(
        self, remote_instances: Sequence[_RemoteInstance], files: FileSet
    ) -> dict[str, DownloadedFile]:
        """Return the files that have changed, by their URLs.

        The URL that expires first is requested first.
        """
        by_expiry = sorted(
            remote_instances, key=lambda instance: url_expires_at(instance.url) or math.inf
        )
        total = _TotalProgress()
        with ThreadPoolExecutor(_MAX_DOWNLOADS, "series") as threads:
            running = {
                instance.url: threads.submit(self._download_instance, instance, files, total)
                for instance in by_expiry
            }
            try:
                self._wait(list(running.values()), total)
            finally:
                total.stopped.set()
                threads.shutdown(cancel_futures=True)
        results = {url: job.result() for url, job in running.items()}
        return {url: downloaded for url, downloaded in results.items() if downloaded}

    def _wait(
        self, running: Sequence[Future[DownloadedFile | None]], total: "_TotalProgress"
    ) -> None:
        """Wait for all downloads and report their progress. Raises what one of them raised."""
        while wait(running, _REPORT_S, FIRST_EXCEPTION).not_done:
            self.progress.report("fetching", total.bytes, 0)
            for job in running:
                if job.done():
                    job.result()
        for job in running:
            job.result()

    def _download_instance(
        self, instance: _RemoteInstance, files: FileSet, total: "_TotalProgress"
    ) -> DownloadedFile | None:
        """Download one file into the file set; return None where it is unchanged."""
        check = _ContentCheck(instance.safe_url)
        with _named_errors(instance), files.partial_file(instance.name, self.limit_bytes) as part:
            download = Download(
                self.session,
                instance.url,
                part,
                self.limit_bytes,
                _InstanceProgress(total, instance.url),
                check.check,
            )
            if not download.run(instance.etag):
                part.path.unlink()
                return None
            part.flush()
            check.check(part.first_bytes())
            shown_name = f"{instance.name}, {instance.safe_url}"
            return DownloadedFile(shown_name, part.path, part.digest, download.etag)


@dataclass(frozen=True, slots=True)
class _ContentCheck:
    safe_url: str

    def check(self, head: bytes) -> None:
        """Raise `NotASlideError` for a file that begins with `head` and is not DICOM."""
        signatures.suffix(head)  # names what else it is, where that is known
        if not signatures.is_dicom(head):
            raise NotASlideError(
                f"{self.safe_url} is no DICOM file",
                hint="give the address of every DICOM file of one series; "
                "of another slide, give `url`",
            )


@contextmanager
def _named_errors(instance: _RemoteInstance) -> Iterator[None]:
    """Add to every error which of the URLs it is about."""
    try:
        yield
    except OrderError as error:
        detail = f"{instance.name}: {error.detail}"
        field_name = f"source.{instance.name}"
        raise OrderError(error.code, detail, hint=error.hint, field=field_name) from None
    except TemporaryError as error:
        detail = f"{instance.name}: {error.detail}"
        raise TemporaryError(
            error.code, detail, hint=error.hint, retry_after_s=error.retry_after_s
        ) from None


class _TotalProgress:
    """What all downloads have received so far, and whether they must stop."""

    def __init__(self) -> None:
        self.stopped = Event()
        self.received_bytes: dict[str, int] = {}

    @property
    def bytes(self) -> int:
        """The bytes of all downloads together."""
        return sum(list(self.received_bytes.values()))


class _InstanceProgress:
    """The `Progress` of one download, which runs in a thread of its own."""

    def __init__(self, total: _TotalProgress, url: str) -> None:
        self._total = total
        self._url = url

    def report(self, stage: str, done: int, total: int) -> None:
        """Count what was received.

        Raises `StopWork` when another download failed or the work was stopped.
        """
        del stage, total
        if self._total.stopped.is_set():
            raise StopWork
        self._total.received_bytes[self._url] = done
