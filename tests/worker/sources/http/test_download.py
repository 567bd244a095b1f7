from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import OrderError, TemporaryError
from tests.support.downloads import (
    OTHER,
    SECRET,
    SLIDE,
    SlideFetcher,
    kind_of,
    one_after_another,
    status,
)
from tests.support.slide_server import Answer, File, Handler, SlideServer


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


def test_a_cut_download_is_resumed_where_it_stopped(fetcher: SlideFetcher) -> None:
    """After each cut only the rest is asked for, provided that the content is still the same."""
    assert fetcher.fetch(fetcher.serve(File(SLIDE, cuts=[700_000, 500_000]))) == SLIDE
    assert fetcher.headers("Range") == [None, "bytes=700000-", "bytes=1200000-"]
    assert fetcher.headers("If-Range") == [None, '"v1"', '"v1"']


def test_a_date_serves_where_there_is_no_etag(fetcher: SlideFetcher) -> None:
    """A download is resumed by Last-Modified, too."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert (
        fetcher.fetch(fetcher.serve(File(SLIDE, etag="", last_modified=date, cuts=[700_000])))
        == SLIDE
    )
    assert fetcher.headers("If-Range") == [None, date]


@pytest.mark.parametrize(
    "slide",
    [
        File(SLIDE, cuts=[700_000], etag=""),
        File(SLIDE, cuts=[700_000], etag='W/"v1"'),
        File(SLIDE, cuts=[700_000], ranges=False),
        File(SLIDE, cuts=[700_000], etag="", last_modified="Fri, 21 Oct 2999 07:28:00 GMT"),
    ],
)
def test_what_cannot_be_resumed_is_fetched_again(fetcher: SlideFetcher, slide: File) -> None:
    """Without a strong validator no range is asked for, and a server that knows no ranges starts
    again.

    A date that is not over yet is none: the next version may have the same.
    """
    assert fetcher.fetch(fetcher.serve(slide)) == SLIDE


def test_a_slide_that_changes_in_the_middle_is_not_mixed(fetcher: SlideFetcher) -> None:
    """When the content changed between two parts, the new content comes whole."""
    changing = one_after_another(File(SLIDE, cuts=[700_000]), File(OTHER, '"v2"'))
    assert fetcher.fetch(fetcher.serve(changing)) == OTHER


def test_a_slide_that_changes_again_and_again_is_the_callers_to_mend(fetcher: SlideFetcher) -> None:
    """After the second change the order is told; nobody waits for a slide that is being written."""
    first, second = File(SLIDE, cuts=[700_000]), File(OTHER, '"v2"', cuts=[700_000])
    error = fetcher.refusal(fetcher.serve(one_after_another(first, second, File(SLIDE, '"v3"'))))
    assert (kind_of(error), error.code) == (OrderError, "slide_unreadable")


def rest_of(content: bytes, start: int, said: int, **headers: str) -> Answer:
    end = f"{len(content) - 1}/{len(content)}"
    return status(206, content[start:], Content_Range=f"bytes {said}-{end}", **headers)


@pytest.mark.parametrize(
    "wrong",
    [
        rest_of(OTHER, 700_000, 700_000, ETag='"v2"'),
        rest_of(SLIDE, 600_000, 600_000, ETag='"v1"'),
        rest_of(SLIDE + b"more", 700_000, 700_000, ETag='"v1"'),
        status(206, b"x", Content_Range="bytes rest"),
        status(416),
    ],
)
def test_a_wrong_answer_to_a_range_is_not_believed(fetcher: SlideFetcher, wrong: Answer) -> None:
    """A part of other content, from another place or of another length makes the download start
    again.
    """
    assert (
        fetcher.fetch(
            fetcher.serve(one_after_another(File(SLIDE, cuts=[700_000]), wrong, File(SLIDE)))
        )
        == SLIDE
    )
    assert fetcher.headers("Range") == [None, "bytes=700000-", None]


def test_an_overload_in_the_middle_does_not_lose_what_came(fetcher: SlideFetcher) -> None:
    """A 503 to the second request is waited out, and the rest is asked for again."""
    whole = File(SLIDE)
    assert (
        fetcher.fetch(
            fetcher.serve(one_after_another(File(SLIDE, cuts=[700_000]), status(503), whole))
        )
        == SLIDE
    )
    assert fetcher.headers("Range")[1:] == ["bytes=700000-"] * 2


def test_a_server_that_always_cuts_is_left_after_five_tries(fetcher: SlideFetcher) -> None:
    """Tries without anything new are few, and then the fetch is worth another try later."""
    error = fetcher.refusal(fetcher.serve(File(SLIDE, ranges=False, cuts=[700_000] * 9)))
    assert (kind_of(error), error.code) == (TemporaryError, "input_unreachable")
    assert len(fetcher.origin.asked) == 6


def test_a_body_shorter_than_promised_is_not_taken_for_the_slide(fetcher: SlideFetcher) -> None:
    """A Content-Length that never comes true ends in `input_unreachable`, not in a
    shorter slide.
    """
    short = status(200, SLIDE[:1000], Content_Length="2000", Connection="close")
    assert fetcher.refusal(fetcher.serve(short)).code == "input_unreachable"


def test_a_line_that_dies_among_the_headers_is_not_an_empty_slide(fetcher: SlideFetcher) -> None:
    """Half a header is a cut."""

    def half_a_header(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Half: ")
        handler.hang_up()

    assert fetcher.fetch(fetcher.serve(one_after_another(half_a_header, File(SLIDE)))) == SLIDE


def test_nobody_listening_is_worth_another_try(fetcher: SlideFetcher) -> None:
    """A refused connection says so without the URL's query."""
    with SlideServer() as gone:
        url = gone.url(f"/slide.svs?{SECRET}")
    error = fetcher.refusal(url)
    assert (
        error.code,
        error.detail.endswith("/slide.svs?… cannot be reached; 0 bytes had come"),
    ) == (
        "input_unreachable",
        True,
    )
