"""Slides of several files on an origin, and their way into a slide cache."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import uid

from broker.errors import SlidelaneError
from tests.support.dicom_files import a_dicom_slide
from tests.support.slide_server import File, Listener, SlideServer
from tests.support.slides import shrunk
from worker.geometry.frame import Pixels
from worker.http_session import session
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.sources.dicom_series.fetch import DicomSeries
from worker.sources.fetch import fetch_remote
from worker.sources.remote_slide import RemoteSlide
from worker.sources.url import WholeFile
from worker.sources.zip.fetch import ZipArchive

SECRET = "X-Amz-Signature=5ecre7&X-Amz-Expires=60"
MB = 2**20


@dataclass
class MultiFileFetcher:
    """An origin with the files of a slide, and a slide cache for what they are together."""

    origin: SlideServer
    folder: Path
    limit_bytes: int = 50 * MB
    max_bytes: int = 100 * MB

    def serve(self, files: Mapping[str, bytes], etag: str = "", **options: Any) -> list[str]:
        """The URLs of the files, presigned; each has its own ETag, or `etag`."""
        for name, content in files.items():
            own = f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324 - as S3 makes them
            self.origin.answers[f"/{name}"] = File(content, etag or own, **options)
        return [self.origin.url(f"/{name}?{SECRET}") for name in files]

    @contextmanager
    def series(self, urls: Sequence[str], progress: Progress | None = None) -> Iterator[LocalSlide]:
        """The slide whose DICOM files are behind the URLs, pinned as long as the context lasts."""
        progress = progress or Listener()
        with a_session() as http:
            remote = DicomSeries(http, tuple(urls), self._most_bytes, progress)
            with self._fetched(remote, progress) as slide:
                yield slide

    @contextmanager
    def archive(
        self, url: str, sha256: str | None = None, progress: Progress | None = None
    ) -> Iterator[LocalSlide]:
        """The slide in the zip archive behind the URL, pinned as long as the context lasts."""
        progress = progress or Listener()
        with a_session() as http:
            remote = ZipArchive(http, url, sha256, self._most_bytes, self.max_bytes, progress)
            with self._fetched(remote, progress) as slide:
                yield slide

    @contextmanager
    def file(self, url: str) -> Iterator[LocalSlide]:
        """The slide in the one file behind the URL, pinned as long as the context lasts."""
        progress = Listener()
        with a_session() as http:
            remote = WholeFile(http, url, None, self._most_bytes, progress)
            with self._fetched(remote, progress) as slide:
                yield slide

    @property
    def _most_bytes(self) -> int:
        return min(self.limit_bytes, self.max_bytes)

    @contextmanager
    def _fetched(self, remote: RemoteSlide, progress: Progress) -> Iterator[LocalSlide]:
        cache = SlideCache(self.folder, self.max_bytes)
        with ExitStack() as pins:
            yield fetch_remote(remote, cache, progress, pins)

    def zip(self, files: Mapping[str, bytes], name: str = "slide.zip") -> str:
        """The URL of a zip of the files."""
        return self.serve({name: zipped(files)})[0]

    def refusal_of(self, *urls: str, zip_url: str = "") -> SlidelaneError:
        """The error that it ends in; whatever it is, it gives no secret away and leaves nothing on
        the disk.
        """
        with (
            pytest.raises(SlidelaneError) as caught,
            self.archive(zip_url) if zip_url else self.series(urls),
        ):
            pytest.fail("nothing was wrong with it")
        told = f"{caught.value.problem} {caught.value!r} {caught.value.__cause__!r}"
        assert "5ecre7" not in told
        assert caught.value.__suppress_context__ or "5ecre7" not in repr(caught.value.__context__)
        assert self.bytes() == 0
        return caught.value

    def bytes(self) -> int:
        """The disk that all slides and parts take."""
        files = [
            path
            for part in ("parts", "??/*")
            for path in self.folder.glob(f"{part}/**/*")
            if path.is_file()
        ]
        return sum(512 * path.lstat().st_blocks for path in files)

    def entries(self) -> list[str]:
        """The digests of the slides in the slide cache."""
        return sorted(path.parent.name for path in self.folder.glob("??/*/slide*"))

    def headers(self, name: str) -> list[str | None]:
        """One header of all requests so far."""
        return [headers.get(name) for _, headers in self.origin.asked]

    def asked(self) -> list[str]:
        """What the origin was asked for, without the queries."""
        return [path.partition("?")[0] for path, _ in self.origin.asked]


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[MultiFileFetcher]:
    """A slide cache in a folder of its own, and an origin."""
    with SlideServer() as origin:
        yield MultiFileFetcher(origin, tmp_path / "cache")


def a_session() -> requests.Session:
    """A session that may ask the origin; use it as a context."""
    return session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2)


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of the files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return file.getvalue()


def a_series(folder: Path, pixels: Pixels, series_uid: str = "1.2.3.4") -> dict[str, bytes]:
    """The files of a DICOM slide with two levels and a label, and an annotation without pixels
    beside them.
    """
    folder.mkdir()
    label = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    for name, picture, downsample, kind in (
        ("fine", pixels, 1, None),
        ("coarse", shrunk(pixels, 2), 2, None),
        ("label", pixels, 1, label),
    ):
        more: dict[str, Any] = {"ImageType": kind} if kind else {}
        a_dicom_slide(
            folder / f"{name}.dcm",
            picture,
            uid.ExplicitVRLittleEndian,
            32,
            downsample=downsample,
            SeriesInstanceUID=series_uid,
            **more,
        )
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
