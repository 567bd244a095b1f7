"""A slide without a length ends with its connection; a server that can be asked whether that was
all, is asked.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.downloads import SLIDE, SlideFetcher, one_after_another, status
from tests.support.slide_server import Answer, File, Handler, SlideServer

HALF = len(SLIDE) // 2
ALL = status(416, Content_Range=f"bytes */{len(SLIDE)}")


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


def unsized(end: int = len(SLIDE), **headers: str) -> Answer:
    """Send the slide up to `end`, without saying how much there is, and close."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in (
            {"Connection": "close", "ETag": '"v1"', "Accept_Ranges": "bytes"} | headers
        ).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(SLIDE[:end])
        handler.hang_up()

    return answer


def test_a_connection_that_ended_in_the_middle_is_gone_on_with(fetcher: SlideFetcher) -> None:
    """The rest is asked for, of the same content."""
    assert fetcher.fetch(fetcher.serve(one_after_another(unsized(HALF), File(SLIDE)))) == SLIDE
    assert fetcher.headers("Range") == [None, f"bytes={HALF}-"]
    assert fetcher.headers("If-Range") == [None, '"v1"']


def test_a_rest_of_an_unknown_length_is_asked_for_too(fetcher: SlideFetcher) -> None:
    """A part that does not say of how much it is one is not the end."""
    rest = status(
        206, SLIDE[HALF:-9], Content_Range=f"bytes {HALF}-{len(SLIDE) - 10}/*", ETag='"v1"'
    )
    last = status(
        206, SLIDE[-9:], Content_Range=f"bytes {len(SLIDE) - 9}-{len(SLIDE) - 1}/*", ETag='"v1"'
    )
    assert fetcher.fetch(fetcher.serve(one_after_another(unsized(HALF), rest, last, ALL))) == SLIDE


def test_a_server_that_has_no_more_says_that_it_was_all(fetcher: SlideFetcher) -> None:
    """A 416 with the length of what came is the end."""
    assert fetcher.fetch(fetcher.serve(one_after_another(unsized(), ALL))) == SLIDE
    assert fetcher.headers("Range") == [None, f"bytes={len(SLIDE)}-"]


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (unsized(Accept_Ranges="none"), 1),
        (unsized(ETag='W/"v1"'), 1),
        (unsized(), 2),
        (one_after_another(unsized(), status(416), unsized()), 3),
    ],
)
def test_where_nobody_can_say_more_the_end_is_the_end(
    fetcher: SlideFetcher, answer: Answer, requests: int
) -> None:
    """Without ranges, or with ranges that are only claimed, what came is taken, and it is not
    fetched for ever.
    """
    assert fetcher.fetch(fetcher.serve(answer)) == SLIDE
    assert len(fetcher.origin.asked) == requests
