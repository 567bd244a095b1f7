import hashlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import OrderError, TemporaryError
from broker.orders.request import ScanRequest
from broker.settings.config import WorkerSettings
from tests.support.downloads import OTHER, SLIDE, SlideFetcher, kind_of, one_after_another
from tests.support.slide_server import File, Listener, SlideServer
from worker.http_session import session
from worker.slides.sandbox.client import Sandbox
from worker.sources import fetch
from worker.sources.http.checksum import Checksum, stated

SHA256, MD5 = hashlib.sha256(SLIDE).digest(), hashlib.md5(SLIDE, usedforsecurity=False).digest()


def text(digest: bytes) -> str:
    return b64encode(digest).decode()


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


@pytest.mark.parametrize(
    ("header", "value", "algorithm"),
    [
        ("Repr-Digest", f"sha-256=:{text(SHA256)}:", "sha256"),
        ("Repr-Digest", f"sha-512=:AAAA:, sha-256=:{text(SHA256)}:", "sha256"),
        ("Digest", f"SHA-256={text(SHA256)},unixsum=30637", "sha256"),
        ("x-amz-checksum-sha256", text(SHA256), "sha256"),
        ("Content-MD5", text(MD5), "md5"),
        ("x-goog-hash", f"crc32c=AAAAAA==,md5={text(MD5)}", "md5"),
        ("x-ms-blob-content-md5", text(MD5), "md5"),
    ],
)
def test_a_stated_checksum_is_held_against_what_came(
    fetcher: SlideFetcher, header: str, value: str, algorithm: str
) -> None:
    """In each form that a server may use: broken bytes are fetched again, and the right ones are
    kept.
    """
    headers = {header: value}
    broken = File(SLIDE[:-1] + b"?", headers=headers)
    assert (
        fetcher.fetch(fetcher.serve(one_after_another(broken, File(SLIDE, headers=headers))))
        == SLIDE
    )
    assert len(fetcher.origin.asked) == 2
    digest = {"sha256": SHA256, "md5": MD5}[algorithm].hex()
    assert stated(headers) == Checksum(algorithm, digest, header)


def test_bytes_that_are_broken_twice_are_worth_another_try_later(fetcher: SlideFetcher) -> None:
    """The error tells both digests, so that who is right can be found out."""
    error = fetcher.refusal(fetcher.serve(File(OTHER, headers={"Content-MD5": text(MD5)})))
    assert (kind_of(error), error.code, len(fetcher.origin.asked)) == (
        TemporaryError,
        "input_unreachable",
        2,
    )
    assert MD5.hex() in error.detail
    assert hashlib.md5(OTHER, usedforsecurity=False).hexdigest() in error.detail


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-sha256": f"{text(SHA256)}-3"},
        {"x-goog-hash": f"md5={text(MD5)}", "x-goog-stored-content-encoding": "gzip"},
        {"x-goog-hash": "crc32c=AAAAAA=="},
        {"Content-MD5": text(SHA256)},
        {"Content-MD5": "not base64"},
        {"Digest": "md5=abc="},
        {"Repr-Digest": "sha-256=" + "A" * 10_000},
    ],
)
def test_what_is_no_checksum_of_the_whole_is_not_taken_for_one(headers: dict[str, str]) -> None:
    """A checksum of checksums, of what is stored otherwise, of another length or not of this form
    says nothing.
    """
    assert stated(headers) is None


def test_the_strongest_checksum_counts() -> None:
    """SHA-256 before MD5, whatever their order."""
    found = stated({"Content-MD5": text(MD5), "Repr-Digest": f"sha-256=:{text(SHA256)}:"})
    assert found
    assert found.algorithm == "sha256"


def brought(fetcher: SlideFetcher, url: str, sha256: str) -> bytes:
    source = {"type": "url", "url": url, "sha256": sha256}
    scan = ScanRequest.model_validate({"id": "1", "source": source})
    with session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2) as http:
        slide_fetcher = fetch.SlideFetcher(
            fetcher.slide_cache, http, Sandbox(threads=1), WorkerSettings()
        )
        with slide_fetcher.fetch(scan, None, Listener()) as slide:
            return slide.path.read_bytes()


def test_the_order_gets_the_file_it_asked_for(fetcher: SlideFetcher) -> None:
    """With the SHA-256 of what lies there the slide comes as ever, from its server and from the
    slide cache.
    """
    url = fetcher.serve(File(SLIDE))
    assert brought(fetcher, url, SHA256.hex()) == brought(fetcher, url, SHA256.hex()) == SLIDE
    assert len(fetcher.origin.asked) == 2


@pytest.mark.parametrize("cached", [False, True])
def test_another_file_than_the_order_asks_for_is_refused(
    fetcher: SlideFetcher, *, cached: bool
) -> None:
    """Also when it stands in the slide cache and its server says that it is unchanged; the error
    tells both digests.
    """
    url, other = fetcher.serve(File(SLIDE)), "0" * 64
    if cached:
        fetcher.fetch(url)
    with pytest.raises(OrderError) as caught:
        brought(fetcher, url, other)
    assert (caught.value.code, caught.value.field) == ("input_differs", "source.sha256")
    assert SHA256.hex() in caught.value.detail
    assert other in caught.value.detail
    assert "5ecre7" not in repr(caught.value.problem)
    assert fetcher.files() == (["slide.tif"] if cached else [])
