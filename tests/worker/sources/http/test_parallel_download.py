import hashlib
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.errors import OrderError, SlidelaneError
from tests.support.downloads import SECRET, kind_of, status
from tests.support.slide_server import Answer, File, Handler, Listener, SlideServer
from worker.http_session import session
from worker.progress import StopWork
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.partial_file import PartialFile
from worker.slides import signatures
from worker.sources.http.download import Download

SLIDE = b"II*\0" + random.Random(3).randbytes(26_000_000)
OTHER = b"II*\0" + random.Random(4).randbytes(26_000_000)


@dataclass
class SlideFetcher:
    """One URL of an origin, and what came of it."""

    origin: SlideServer
    part: PartialFile
    listener: Listener = field(default_factory=Listener)

    def fetch(self, answer: Answer) -> bytes:
        """What the part holds in the end; its digest is right, and no thread is left."""
        self.origin.answers["/slide.svs"] = answer
        url = self.origin.url(f"/slide.svs?{SECRET}")
        with session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=20) as http:
            try:
                download = Download(http, url, self.part, 10**8, self.listener, signatures.suffix)
                assert download.run()
            finally:
                assert [
                    thread.name
                    for thread in threading.enumerate()
                    if thread.name.startswith("download")
                ] == []
        content = self.part.path.read_bytes()[: self.part.bytes]
        assert self.part.digest == hashlib.sha256(content).hexdigest()
        return content

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.origin.asked]


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin, SlideCache(tmp_path, 10**9).partial_file() as part:
        yield SlideFetcher(origin, part)


def parted(whole: Answer, ranged: Answer) -> Answer:
    """A request without a range is answered by the first, one with a range by the second."""
    return lambda handler: (ranged if "Range" in handler.headers else whole)(handler)


def test_a_large_slide_comes_over_four_connections(fetcher: SlideFetcher) -> None:
    """With the first answer, three ranges come at a time, each asked for once and only of the same
    content.
    """
    asked_4, most_here = (
        lambda: len(fetcher.origin.asked) >= 4,
        lambda: fetcher.part.bytes > len(SLIDE) - 4_500_000,
    )
    assert fetcher.fetch(parted(File(SLIDE, until=most_here), File(SLIDE, until=asked_4))) == SLIDE
    ranges = [headers for _, headers in fetcher.origin.asked if "Range" in headers]
    assert {headers["If-Range"] for headers in ranges} == {'"v1"'}
    assert len({headers["Range"] for headers in ranges}) == len(ranges) >= 3
    assert fetcher.listener.heard[-1] == ("fetching", len(SLIDE), len(SLIDE))


@pytest.mark.parametrize(
    "file",
    [
        File(SLIDE[:15_000_000]),
        File(SLIDE, ranges=False),
        File(SLIDE, etag='W/"v1"'),
        File(SLIDE, etag="", last_modified="Fri, 21 Oct 2999 07:28:00 GMT"),
        File(SLIDE, chunked=True),
    ],
)
def test_one_connection_is_enough(fetcher: SlideFetcher, file: File) -> None:
    """A small slide comes at once; without ranges, a length, or what tells versions apart, no part
    can be trusted.
    """
    assert fetcher.fetch(file) == file.content
    assert fetcher.ranges() == [None]


def odd(handler: Handler) -> None:
    handler.answer(206, SLIDE[:100], Content_Range=f"bytes 0-99/{len(SLIDE)}", ETag='"v1"')


@pytest.mark.parametrize(
    "unwelcome", [status(403), status(503), File(SLIDE, ranges=False), odd,
                  File(SLIDE, cuts=[0] * 9), Handler.hang_up],
)  # fmt: skip
def test_where_more_connections_are_unwelcome_one_goes_on(
    fetcher: SlideFetcher, unwelcome: Answer
) -> None:
    """A refused, ignored or wrongly answered range costs nothing of what the first connection
    brings.
    """
    first = File(SLIDE, until=lambda: len(fetcher.origin.asked) >= 2)
    assert fetcher.fetch(parted(first, unwelcome)) == SLIDE
    assert len(fetcher.ranges()) == 2


def test_a_silent_extra_connection_is_given_up(fetcher: SlideFetcher) -> None:
    """A server that queues further connections does not keep the slide, nor a thread."""
    first = File(SLIDE, until=lambda: len(fetcher.origin.asked) >= 2)
    assert fetcher.fetch(parted(first, lambda handler: handler.server.closing.wait(20))) == SLIDE


def test_every_piece_is_resumed_where_it_was_cut(fetcher: SlideFetcher) -> None:
    """Whichever connections are cut, nothing that came is asked for again."""
    whole, ranged = File(SLIDE, cuts=[10_000_000]), File(SLIDE, cuts=[1_500_000] * 30)
    assert fetcher.fetch(parted(whole, ranged)) == SLIDE
    starts = [str(wanted).partition("-")[0] for wanted in fetcher.ranges() if wanted]
    assert len(set(starts)) == len(starts)


def changed_part(handler: Handler) -> None:
    handler.answer(206, OTHER[8:9], Content_Range=f"bytes 8-8/{len(OTHER)}", ETag='"v2"')


def longer_part(handler: Handler) -> None:
    handler.answer(206, SLIDE[8:9], Content_Range=f"bytes 8-8/{len(SLIDE) + 1}", ETag='"v1"')


@pytest.mark.parametrize("ranged", [File(OTHER, '"v2"'), changed_part, longer_part])
def test_two_versions_are_never_mixed(fetcher: SlideFetcher, ranged: Answer) -> None:
    """When a range shows that the slide changed, all starts over, once, over one connection."""
    first = File(SLIDE, until=lambda: len(fetcher.origin.asked) >= 2)
    assert fetcher.fetch(parted(one_by_one(first, File(OTHER, '"v2"')), ranged)) == OTHER
    assert fetcher.ranges()[0] is fetcher.ranges()[-1] is None


def one_by_one(*answers: Answer) -> Answer:
    left = list(answers)

    def answer(handler: Handler) -> None:
        left.pop(0)(handler)

    return answer


def test_a_slide_that_keeps_changing_is_the_callers_to_mend(fetcher: SlideFetcher) -> None:
    """After the second change the order is told; nobody waits for a slide that is being written."""
    first = File(SLIDE, until=lambda: len(fetcher.origin.asked) >= 2)
    second = File(OTHER, '"v2"', cuts=[1_000_000])
    with pytest.raises(SlidelaneError) as caught:
        fetcher.fetch(parted(one_by_one(first, second), File(SLIDE, '"v3"')))
    assert (kind_of(caught.value), caught.value.code) == (OrderError, "slide_unreadable")
    assert "5ecre7" not in repr(caught.value.problem)


def test_a_stop_leaves_no_connection(fetcher: SlideFetcher) -> None:
    """`StopWork` ends all connections where they are, and their threads."""
    fetcher.listener = Listener(lambda done: len(fetcher.origin.asked) >= 4)
    with pytest.raises(StopWork):
        fetcher.fetch(File(SLIDE, until=lambda: False))
