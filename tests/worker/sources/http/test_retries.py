"""A server that says nothing is asked again for all to see, and not waited for once nothing is
wanted of it.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from broker.errors import TemporaryError
from tests.support.downloads import SLIDE, SlideFetcher, one_after_another
from tests.support.image_server import Behavior, ImageServer
from tests.support.image_server_fetch import ImageServerFetcher, region
from tests.support.range_server import RangedFile, from_number, set_to
from tests.support.slide_server import Answer, File, Handler, Listener, SlideServer
from worker.http_session import session
from worker.progress import StopWork
from worker.sources.http.byte_ranges import Range, RangedUrl
from worker.sources.image_server.client import ImageRequest, ImageServerClient

PICTURE = np.zeros((300, 300, 3), np.uint8)
FAR = Range(1_000_000, 1_000_100)


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=20) as http:
        yield http


def silent(handler: Handler) -> None:
    handler.server.closing.wait(20)


def announced(handler: Handler) -> None:
    """Headers, and nothing of what they announce."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    silent(handler)


def tries(listener: Listener) -> list[int]:
    return [done for stage, done, _ in listener.heard if stage == "asking again"]


def test_a_download_shows_each_try(tmp_path: Path) -> None:
    """Four times after the first; nothing came, and yet it moved."""
    listener = Listener()
    with SlideServer() as origin:
        fetcher = SlideFetcher(origin, tmp_path)
        url = fetcher.serve(File(SLIDE, cuts=[0] * 9))
        with pytest.raises(TemporaryError):
            fetcher.fetch(url, listener)
    assert tries(listener) == [1, 2, 3, 4]


def test_a_range_shows_its_tries(http: requests.Session) -> None:
    """It only ever goes up, and no further than there are tries."""
    listener = Listener()
    with SlideServer() as origin:
        origin.answers["/slide.svs"] = RangedFile(SLIDE, bend=from_number(1, set_to(cut_after=0)))
        remote = RangedUrl(http, origin.url("/slide.svs"), listener)
        assert remote.begin("", lambda at, data: None)
        with pytest.raises(TemporaryError):
            remote.fetch([FAR], lambda at, data: None)
    assert tries(listener) == sorted(set(tries(listener))) != []
    assert tries(listener)[-1] <= 4


def test_an_image_server_is_shown_to_be_asked_again(tmp_path: Path) -> None:
    """While a picture is waited for whose first request brought nothing, and whose second does not
    yet.
    """
    listener = Listener()
    with ImageServer(PICTURE, Behavior(first=[silent, silent])) as origin:
        ImageServerFetcher(
            origin, tmp_path, roi=region(x=9, y=9, width=50, height=50), read_timeout_s=0.6
        ).fetch(progress=listener)
    assert tries(listener)[:1] == [1]


def test_a_stop_does_not_wait_for_a_range(http: requests.Session) -> None:
    """A line that says nothing, not even a header, holds it for one silence, which is shorter than
    a download's.
    """
    with SlideServer() as origin:
        origin.answers["/slide.svs"] = one_after_another(RangedFile(SLIDE), silent)
        stop = Listener(lambda _: len(origin.asked) > 1)
        remote = RangedUrl(http, origin.url("/slide.svs"), stop, timeout_s=(2, 0.5))
        assert remote.begin("", lambda at, data: None)
        began = time.monotonic()
        with pytest.raises(StopWork):
            remote.fetch([FAR], lambda at, data: None)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("answer", "silence_s"), [(silent, 0.5), (announced, 20)])
def test_a_stop_does_not_wait_for_an_image_server(
    http: requests.Session, answer: Answer, silence_s: float
) -> None:
    """Not for its headers beyond one short silence, and not at all for what these announce."""
    with SlideServer() as origin:
        origin.answers["/picture"] = answer
        stop = Listener(lambda _: len(origin.asked) > 0)
        began = time.monotonic()
        with pytest.raises(StopWork), ImageServerClient(http, stop, (2, silence_s)) as client:
            client.result(client.begin(ImageRequest(origin.url("/picture"), 100)))
    assert time.monotonic() - began < 5
