"""What storages answer instead of a slide, in their own words."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.errors import OrderError, TemporaryError
from tests.support.downloads import SECRET, SLIDE, SlideFetcher, kind_of, one_after_another, status
from tests.support.slide_server import Answer, File, SlideServer


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


def s3(code: str, rest: str = "") -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>'
    return f"{head}{code}</Code><Message>why</Message>{rest}<Token>5ecre7</Token></Error>".encode()


@pytest.mark.parametrize(
    ("answer", "code", "hint"),
    [
        (status(403, s3("AccessDenied", "<Message>Request has expired</Message>")), "input_expired", "fresh URL"),
        (status(403, s3("SignatureDoesNotMatch")), "input_expired", "fresh URL"),
        (status(400, s3("ExpiredToken")), "input_expired", "fresh URL"),
        (status(400, s3("AuthorizationQueryParametersError")), "input_expired", "region"),
        (status(403, s3("AuthenticationFailed")), "input_expired", "fresh URL"),
        (status(301, s3("PermanentRedirect", "<Endpoint>s3.eu-west-1.amazonaws.com</Endpoint>")), "input_not_found",
         "region"),
        (status(404, s3("NoSuchKey")), "input_not_found", "address"),
        (status(404, b"", x_ms_error_code="BlobNotFound"), "input_not_found", "address"),
        (status(403, s3("InvalidObjectState")), "input_not_found", "restore"),
        (status(409, b"", x_ms_error_code="BlobArchived"), "input_not_found", "restore"),
        (status(403, b'{"error": {"errors": [{"reason": "forbidden"}]}}'), "input_expired", "fresh URL"),
    ],
)  # fmt: skip
def test_a_storage_says_what_the_caller_must_mend(
    fetcher: SlideFetcher, answer: Answer, code: str, hint: str
) -> None:
    """S3's, Azure's and Google's reasons are understood, and nothing else of their documents is
    shown.
    """
    error = fetcher.refusal(fetcher.serve(answer))
    assert (kind_of(error), error.code) == (OrderError, code)
    assert hint in error.hint


@pytest.mark.parametrize(
    "answer",
    [
        status(503, s3("SlowDown"), Retry_After="3"),
        status(400, s3("RequestTimeout"), Retry_After="3"),
        status(500, b"", x_ms_error_code="OperationTimedOut", Retry_After="3"),
        status(
            403, b'{"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}', Retry_After="3"
        ),
    ],
)
def test_a_storage_that_is_busy_is_asked_again(fetcher: SlideFetcher, answer: Answer) -> None:
    """Whatever status it uses for that."""
    error = fetcher.refusal(fetcher.serve(answer))
    assert isinstance(error, TemporaryError)
    assert (error.code, error.retry_after_s) == ("input_unreachable", 3)


def signed(seconds: float) -> tuple[str, str]:
    """A query whose signature ends in so many seconds, and that time as it is told."""
    ends = int(time.time() + seconds)
    began = datetime.fromtimestamp(ends - 3600, UTC)
    query = f"X-Amz-Date={began:%Y%m%dT%H%M%SZ}&X-Amz-Expires=3600&X-Amz-Signature=5ecre7"
    return query, f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_an_expired_url_tells_when_it_died(fetcher: SlideFetcher) -> None:
    """The time is read from the URL, which is itself not shown."""
    query, ended = signed(-60)
    error = fetcher.refusal(fetcher.serve(status(403, s3("AccessDenied"))).replace(SECRET, query))
    assert (error.code, f"good until {ended}" in error.detail) == ("input_expired", True)


def test_a_url_that_expires_in_the_middle_is_not_asked_for_ever(fetcher: SlideFetcher) -> None:
    """The cut is resumed once, is refused, and the error tells what had come."""
    query, ended = signed(-60)
    dying = one_after_another(File(SLIDE, cuts=[700_000]), status(403, s3("AccessDenied")))
    error = fetcher.refusal(fetcher.serve(dying).replace(SECRET, query))
    assert (kind_of(error), error.code, len(fetcher.origin.asked)) == (
        OrderError,
        "input_expired",
        2,
    )
    assert f"good until {ended}; 700000 of {len(SLIDE)} bytes had come" in error.detail


def test_a_redirect_to_a_presigned_url_is_followed_each_time(fetcher: SlideFetcher) -> None:
    """Also for the rest after a cut; the second address is shown nowhere."""
    fetcher.serve(File(SLIDE, cuts=[700_000]), "/signed.svs")
    url = fetcher.serve(status(302, Location=f"/signed.svs?{SECRET}"))
    assert fetcher.fetch(url) == SLIDE
    assert [path.partition("?")[0] for path, _ in fetcher.origin.asked] == [
        "/slide.svs",
        "/signed.svs",
    ] * 2


def test_what_a_redirect_leads_to_is_refused_without_its_secrets(fetcher: SlideFetcher) -> None:
    """An error behind a redirect names the address that was ordered, and the time of whichever URL
    died first.
    """
    query, ended = signed(-60)
    fetcher.serve(status(403, s3("AccessDenied")), "/signed.svs")
    error = fetcher.refusal(fetcher.serve(status(307, Location=f"/signed.svs?{query}")))
    assert (error.code, ended in error.detail, "/slide.svs?…" in error.detail) == (
        "input_expired",
        True,
        True,
    )


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("http://10.0.0.1/", "host_not_allowed"),
        ("http://169.254.169.254/latest/meta-data", "host_not_allowed"),
        ("http://[::ffff:10.0.0.1]/", "host_not_allowed"),
        ("ftp://127.0.0.1/slide.svs", "host_not_allowed"),
        ("file:///etc/passwd", "host_not_allowed"),
        ("/slide.svs", "input_not_found"),
    ],
)
def test_a_redirect_is_checked_like_the_url_itself(
    fetcher: SlideFetcher, target: str, code: str
) -> None:
    """Private addresses, other schemes and circles end the fetch, at its start and for the rest
    after a cut.
    """
    away = status(302, Location=f"{target}?{SECRET}")
    for answer in (away, one_after_another(File(SLIDE, cuts=[700_000]), away)):
        error = fetcher.refusal(fetcher.serve(answer))
        assert (kind_of(error), error.code) == (OrderError, code)
