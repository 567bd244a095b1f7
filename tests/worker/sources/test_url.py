import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import OrderError, TemporaryError
from tests.support.downloads import SECRET, SLIDE, SlideFetcher, kind_of, status
from tests.support.slide_server import Answer, File, Listener, SlideServer, drip
from worker.progress import StopWork
from worker.sources.url import source_key


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_slide_over_the_limit_is_refused(fetcher: SlideFetcher, *, chunked: bool) -> None:
    """The limit holds by Content-Length, and by count where there is none."""
    fetcher.limit_bytes = 1_000_000
    assert fetcher.refusal(fetcher.serve(File(SLIDE, chunked=chunked))).code == "input_too_large"


def test_a_slide_larger_than_the_slide_cache_is_worth_another_try(fetcher: SlideFetcher) -> None:
    """The slide cache's byte budget is the platform's limit, not the caller's."""
    fetcher.limit_bytes = 10**12
    error = fetcher.refusal(fetcher.serve(status(200, b"II*\0", Content_Length="30000000")))
    assert (kind_of(error), error.code) == (TemporaryError, "shelf_full")


def test_a_fetch_that_is_stopped_leaves_nothing(fetcher: SlideFetcher) -> None:
    """`StopWork` ends a transfer in the middle and removes what had come."""
    slide = File(SLIDE, gate=threading.Event())
    with pytest.raises(StopWork):
        fetcher.fetch(
            fetcher.serve(slide), Listener(lambda done: done > 0 and not slide.gate.set())
        )
    assert fetcher.files() == []


def test_a_slide_that_drips_can_be_stopped(fetcher: SlideFetcher) -> None:
    """A transfer that hardly moves still reports on, so that `StopWork` ends it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\nII*\0"
    with pytest.raises(StopWork):
        fetcher.fetch(fetcher.serve(drip(head)), Listener(lambda done: done > 20))
    assert fetcher.files() == []


@pytest.mark.parametrize(
    ("answer", "code", "tells"),
    [
        (status(403, b"<Code>AccessDenied</Code><Token>5ecre7</Token>"), "input_expired", "403 AccessDenied"),
        (status(400, b"<Error><Code>ExpiredToken</Code></Error>"), "input_expired", "400 ExpiredToken"),
        (status(403, b"x" * 10_000_000), "input_expired", "403"),
        (status(401), "input_expired", "401"),
        (status(404, b"<Error><Code>NoSuchKey</Code></Error>"), "input_not_found", "404 NoSuchKey"),
        (status(410), "input_not_found", "410"),
        (status(405), "input_not_found", "405"),
        (status(204), "input_not_found", "204"),
        (status(206, b"x", Content_Range="bytes 0-0/9"), "input_not_found", "206"),
        (status(302, Location="http://[bad"), "input_not_found", "redirects"),
        (status(302, Location="/slide.svs"), "input_not_found", "redirects"),
        (status(302, Location=f"http://127.0.0.2/?{SECRET}"), "host_not_allowed", "127.0.0.2"),
    ],
)  # fmt: skip
def test_a_refusal_is_the_callers_to_mend(
    fetcher: SlideFetcher, answer: Answer, code: str, tells: str
) -> None:
    """Each refusal has its code and names the status and the storage's reason, and is asked for
    once only.
    """
    error = fetcher.refusal(fetcher.serve(answer))
    assert (kind_of(error), error.code) == (OrderError, code)
    assert tells in error.detail


@pytest.mark.parametrize("code", [408, 425, 429, 500, 503])
def test_an_overloaded_server_is_asked_again_when_it_says(fetcher: SlideFetcher, code: int) -> None:
    """Overload is temporary and its Retry-After is handed on."""
    error = fetcher.refusal(fetcher.serve(status(code, Retry_After="7")))
    assert isinstance(error, TemporaryError)
    assert (error.code, error.retry_after_s, len(fetcher.origin.asked)) == (
        "input_unreachable",
        7,
        1,
    )


def test_a_source_is_its_url_without_what_every_signature_changes() -> None:
    """Two signatures of S3, CloudFront, Google or Azure are one source; another object, version or
    host is another.
    """
    base = "https://b.example/s.svs"
    same = [
        ("X-Amz-Date=1&X-Amz-Signature=a&X-Amz-Security-Token=t", "x-amz-date=2&X-Amz-Signature=b"),
        ("Expires=1&Signature=a&Key-Pair-Id=k", "Signature=b&Expires=2&Policy=p"),
        ("X-Goog-Signature=a&X-Goog-Date=1", "X-Goog-Signature=b&X-Goog-Date=2"),
        ("sv=1&sr=b&sig=a&se=1&sp=r", "sig=b&se=2&skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=5"),
    ]
    assert all(source_key(f"{base}?{one}") == source_key(f"{base}?{two}") for one, two in same)
    others = [
        "",
        "?versionId=1",
        "?versionId=2",
        "?sr=1",
        "?sr=2",
        "?Expires=1",
        "2",
        "?se=1&X-Amz-Signature=a",
    ]
    assert len({source_key(base + other) for other in others}) == len(others)
    assert source_key(base) != source_key(base.replace("b.example", "c.example"))
