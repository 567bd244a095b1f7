"""Byte ranges over HTTP into a file full of holes, from servers that keep to the rules and from
others.
"""

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import OrderError, TemporaryError
from tests.support.range_server import RangedFile, Reply, from_number, set_to
from tests.support.slide_server import Listener, SlideServer
from worker.http_session import session
from worker.progress import StopWork
from worker.sources.http.byte_ranges import FIRST_BYTES, Range, RangedUrl, RangesUnsuitable
from worker.sources.http.remote_file import ContentChanged
from worker.sources.remote_tiff.sparse_file import SparseFile, merged

CONTENT = random.Random(3).randbytes(9_000_000)
FAR = Range(8_000_000, 8_000_100)
SECRET = "X-Amz-Signature=5ecre7"
Spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: Range(*sorted(pair))),
    max_size=8,
)

Opened = Callable[..., SparseFile]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A file of holes on a server's file, and how many bytes of disk it reserved."""
    with (
        SlideServer() as origin,
        session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2) as http,
    ):

        def open_file(served: RangedFile, progress: Listener | None = None) -> SparseFile:
            origin.answers["/slide.svs"] = served
            remote = RangedUrl(http, origin.url(f"/slide.svs?{SECRET}"), progress or Listener())
            return SparseFile(tmp_path / "slide.tif", remote, lambda size_bytes: None)

        yield open_file


def test_needed_ranges_are_here_and_the_rest_are_holes(opened: Opened) -> None:
    """The file has the full length, the bytes of each needed range, and takes hardly more disk than
    these.
    """
    wanted = [Range(1_000_000, 1_300_000), Range(1_200_000, 1_500_000), FAR]
    with opened(RangedFile(CONTENT)) as file:
        assert file.begin()
        file.need(wanted)
        assert all(
            file.read(part) == CONTENT[slice(*part)] for part in [*wanted, Range(0, FIRST_BYTES)]
        )
        assert file.path.stat().st_size == len(CONTENT)
        assert file.path.stat().st_blocks * 512 < 700_000
        assert not any(file.read(Range(4_000_000, 5_000_000)))


def test_what_is_here_is_not_asked_for_again(opened: Opened) -> None:
    """A range is asked for without the parts of it that came before, and not at all when it is
    here.
    """
    served = RangedFile(CONTENT)
    with opened(served) as file:
        file.begin()
        file.need([Range(10_000, 200_000)])
        file.need([Range(100_000, 150_000)])
        assert served.asked == [(0, FIRST_BYTES), (FIRST_BYTES, 200_000)]
        assert file.has(Range(0, 200_000))
        assert not file.has(Range(199_999, 200_001))


def test_a_small_gap_comes_along(opened: Opened) -> None:
    """Ranges with less than 64 kB between them are one request, others are not."""
    served = RangedFile(CONTENT)
    with opened(served) as file:
        file.begin()
        file.need([Range(100_000, 100_010), Range(150_000, 150_010), Range(400_000, 400_010)])
    assert sorted(served.asked[1:]) == [(100_000, 150_010), (400_000, 400_010)]


def test_a_cut_range_is_resumed_where_it_stopped(opened: Opened) -> None:
    """After a cut only what is missing is asked for, of the same content."""
    served = RangedFile(
        CONTENT,
        bend=lambda number, reply: setattr(reply, "cut_after", 70_000 if number == 1 else None),
    )
    with opened(served) as file:
        file.begin()
        file.need([Range(500_000, 900_000)])
        assert file.read(Range(500_000, 900_000)) == CONTENT[500_000:900_000]
    assert served.asked[1] == (500_000, 900_000)
    assert 500_000 < served.asked[2][0] <= 570_000
    assert served.sent_bytes <= FIRST_BYTES + 400_000 + 70_000


@pytest.mark.parametrize(
    "bend",
    [
        set_to(headers={"ETag": '"v2"'}),
        set_to(headers={"ETag": 'W/"v1"'}),
        set_to(headers={"Content-Range": "bytes 0-99/9000000"}),
        set_to(headers={"Content-Range": "bytes 8000000-8000099/9000001"}),
        set_to(headers={"Content-Range": "bytes 8000000-8000099/*"}),
        set_to(headers={"Content-Range": "nonsense"}),
        set_to(status=200, body=CONTENT),
        set_to(status=412, body=b""),
        set_to(status=416, body=b""),
    ],
)
def test_anything_but_that_range_of_that_content_is_not_taken(
    opened: Opened, bend: Callable[[Reply], None]
) -> None:
    """Another version, another range, another length or the whole content leaves no byte in the
    file.
    """
    with opened(RangedFile(CONTENT, bend=from_number(1, bend))) as file:
        file.begin()
        with pytest.raises(ContentChanged):
            file.need([FAR])
        assert not any(file.read(FAR))


@pytest.mark.parametrize(
    ("etag", "bend"),
    [
        ('W/"v1"', set_to()),
        ("", set_to()),
        ('"v1"', set_to(status=200, body=CONTENT)),
        ('"v1"', set_to(headers={"Content-Range": "bytes 1-32768/9000000"})),
        ('"v1"', set_to(headers={"Content-Range": "bytes 0-32767/*"})),
        ('"v1"', set_to(cut_after=100)),
        ('"v1"', set_to(status=403, body=b"<Code>AccessDenied</Code>")),
    ],
)
def test_a_server_without_trustworthy_ranges_is_left_to_the_download(
    opened: Opened, etag: str, bend: Callable[[Reply], None]
) -> None:
    """Where the first answer is not the first range under a strong ETag nothing begins, and one
    request was made.
    """
    served = RangedFile(CONTENT, etag=etag, bend=from_number(0, bend))
    with opened(served) as file:
        assert not file.begin()
    assert len(served.asked) == 1


def test_content_that_still_stands_is_not_sent(opened: Opened) -> None:
    """With the ETag of what is known, the server may say that it is unchanged; that is a beginning
    and no byte.
    """
    served = RangedFile(CONTENT)
    with opened(served) as file:
        assert file.begin('"v1"')
    assert served.sent_bytes == 0


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (403, OrderError, "input_expired"),
        (404, OrderError, "input_not_found"),
        (503, TemporaryError, "input_unreachable"),
    ],
)
def test_a_refusal_in_the_middle_is_told_without_the_signature(
    opened: Opened, status: int, kind: type[Exception], code: str
) -> None:
    """A URL that dies is the caller's to mend, overload is worth another try; neither shows the
    presigned query.
    """
    with opened(RangedFile(CONTENT, bend=from_number(1, set_to(status=status, body=b"")))) as file:
        file.begin()
        with pytest.raises(kind) as caught:
            file.need([FAR])
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert "5ecre7" not in f"{caught.value} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_a_fetch_that_is_stopped_asks_for_nothing_more(opened: Opened) -> None:
    """`StopWork` ends the transfer of what is under way and of all that waited."""
    gate = threading.Event()
    served = RangedFile(CONTENT, bend=from_number(9, lambda reply: gate.wait(60)))
    with opened(served, Listener(lambda done: done > 0 and not gate.set())) as file:
        file.begin()
        with pytest.raises(StopWork):
            file.need([Range(start, start + 10) for start in range(100_000, 9_000_000, 100_000)])
    assert len(served.asked) < 20


def test_what_lies_in_too_many_places_is_not_fetched_in_parts(opened: Opened) -> None:
    """A directory that would take thousands of requests ends in one exception,
    before any of them.
    """
    served = RangedFile(CONTENT)
    with opened(served) as file:
        file.begin()
        with pytest.raises(RangesUnsuitable):
            file.need(
                [Range(start, start + 1) for start in range(2**32, 2**32 + 5000 * 2**17, 2**17)]
            )
    assert len(served.asked) == 1


@given(Spans, st.integers(0, 5))
def test_merged_ranges_are_the_same_bytes_in_order(spans: list[Range], gap_bytes: int) -> None:
    """Merging loses no byte, adds gaps only of the size allowed, and leaves larger ones between its
    ranges.
    """
    found = merged(spans, gap_bytes)
    before = {at for span in spans for at in range(*span)}
    after = {at for span in found for at in range(*span)}
    assert before <= after
    assert gap_bytes or before == after
    assert all(one.stop + gap_bytes < other.start for one, other in itertools.pairwise(found))
