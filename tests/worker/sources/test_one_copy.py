import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.errors import OrderError
from tests.support.downloads import OTHER, SLIDE, SlideFetcher, one_after_another, status
from tests.support.slide_server import File, Listener, SlideServer


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


def test_an_unchanged_slide_is_not_fetched_again(fetcher: SlideFetcher) -> None:
    """With another signature the server is asked whether the slide changed, and the copy in the
    slide cache serves.
    """
    url = fetcher.serve(File(SLIDE))
    assert fetcher.fetch(url) == fetcher.fetch(url.replace("5ecre7", "an0ther")) == SLIDE
    assert fetcher.headers("If-None-Match") == [None, '"v1"']


def test_a_changed_slide_is_fetched_anew(fetcher: SlideFetcher) -> None:
    """Another ETag brings the other content."""
    url = fetcher.serve(one_after_another(File(SLIDE), File(OTHER, '"v2"')))
    assert (fetcher.fetch(url), fetcher.fetch(url)) == (SLIDE, OTHER)


@pytest.mark.parametrize("etag", ["", 'W/"v1"'])
def test_without_a_strong_etag_a_slide_is_always_fetched_again(
    fetcher: SlideFetcher, etag: str
) -> None:
    """Nothing else proves that the content is still the same."""
    url = fetcher.serve(one_after_another(File(SLIDE, etag), File(OTHER, etag)))
    assert (fetcher.fetch(url), fetcher.fetch(url)) == (SLIDE, OTHER)


def test_a_cached_copy_opens_to_no_expired_signature(fetcher: SlideFetcher) -> None:
    """Who may no longer read the slide at its source does not get it from the slide cache."""
    url = fetcher.serve(one_after_another(File(SLIDE), status(403)))
    fetcher.fetch(url)
    with pytest.raises(OrderError) as caught:
        fetcher.fetch(url)
    assert caught.value.code == "input_expired"


def test_what_was_cached_before_is_used_after_its_url_expired(fetcher: SlideFetcher) -> None:
    """With what an earlier stage knew the server is not asked; once evicted, it is."""
    url = fetcher.serve(one_after_another(File(SLIDE), status(403)))
    fetcher.fetch(url)
    digest = next(fetcher.folder.glob("??/*/slide*")).parent.name
    assert fetcher.fetch(url, known={"digest": digest}) == SLIDE
    assert len(fetcher.origin.asked) == 1
    with pytest.raises(OrderError):
        fetcher.fetch(url, known={"digest": "0" * 64})


def test_an_evicted_slide_is_fetched_again(fetcher: SlideFetcher) -> None:
    """An ETag alone is not enough: without the copy the slide is asked for whole."""
    url = fetcher.serve(File(SLIDE))
    fetcher.fetch(url)
    next(fetcher.folder.glob("??/*/slide*")).unlink()
    assert fetcher.fetch(url) == SLIDE
    assert fetcher.headers("If-None-Match") == [None, None]


def test_threads_that_want_the_same_slide_download_it_once(fetcher: SlideFetcher) -> None:
    """Three at once cause one request; the others wait, report on, and take what came."""
    slide = File(SLIDE, gate=threading.Event())
    url = fetcher.serve(slide)
    waiting = [Listener(), Listener()]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(fetcher.fetch, url)
        assert slide.half_sent.wait(60)
        others = [pool.submit(fetcher.fetch, url, listener) for listener in waiting]
        assert all(listener.called.wait(60) for listener in waiting)
        slide.gate.set()
        assert {first.result(), *(other.result() for other in others)} == {SLIDE}
    assert len(fetcher.origin.asked) == 1


def test_another_signature_is_not_let_in_by_waiting(fetcher: SlideFetcher) -> None:
    """Who waits with a URL of its own still has to be let in by the server."""
    slide = File(SLIDE, gate=threading.Event())
    url = fetcher.serve(one_after_another(slide, status(403)))
    listener = Listener()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetcher.fetch, url)
        assert slide.half_sent.wait(60)
        other = pool.submit(fetcher.fetch, url.replace("5ecre7", "f0rged"), listener)
        assert listener.called.wait(60)
        slide.gate.set()
        assert first.result() == SLIDE
        with pytest.raises(OrderError):
            other.result()


FETCH = """
import sys, pathlib
from broker.settings.config import WorkerSettings
from broker.orders.request import ScanRequest
from worker.http_session import session
from worker.slides.sandbox.client import Sandbox
from worker.slide_cache.cache import SlideCache
from worker.sources.fetch import SlideFetcher

class Teller:
    def report(self, stage, done, total):
        print(done, flush=True)

http = session(["127.0.0.1"], connect_timeout_s=2, read_timeout_s=20)
asked = ScanRequest.model_validate({"id": "1", "source": {"type": "url", "url": sys.argv[2]}})
fetcher = SlideFetcher(SlideCache(pathlib.Path(sys.argv[1]), 10**8), http, Sandbox(threads=1), WorkerSettings())
with fetcher.fetch(asked, None, Teller()) as copy:
    print("near", copy.bytes, flush=True)
"""


def in_another_process(fetcher: SlideFetcher, url: str) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", FETCH, str(fetcher.folder), url]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_processes_that_want_the_same_slide_download_it_once(fetcher: SlideFetcher) -> None:
    """A second process waits for the first and takes its copy."""
    slide = File(SLIDE, gate=threading.Event())
    url = fetcher.serve(slide)
    with in_another_process(fetcher, url) as first:
        assert slide.half_sent.wait(60)
        with in_another_process(fetcher, url) as second:
            assert second.stdout
            assert second.stdout.readline() == "1\n"
            slide.gate.set()
            told = [process.communicate()[0].split()[-2:] for process in (first, second)]
    assert told == [["near", str(len(SLIDE))]] * 2
    assert len(fetcher.origin.asked) == 1


def test_a_kill_in_the_middle_leaves_no_slide(fetcher: SlideFetcher) -> None:
    """What a killed process had fetched is never taken for the slide, and the next fetch cleans up
    after it.
    """
    slide = File(SLIDE, gate=threading.Event())
    url = fetcher.serve(slide)
    with in_another_process(fetcher, url) as process:
        assert process.stdout
        while process.stdout.readline() == "0\n":
            pass
        process.kill()
    assert len(fetcher.files()) == 1
    assert list(fetcher.folder.glob("??/*/slide*")) == []
    slide.gate = None
    assert fetcher.fetch(url) == SLIDE
    assert fetcher.files() == ["slide.tif"]
