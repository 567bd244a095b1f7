import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from tests.support.cache_holder import Held
from tests.support.slide_caches import files, put
from tests.support.slide_server import Listener
from worker.progress import StopWork
from worker.slide_cache.cache import SlideCache


@pytest.fixture
def shelf(tmp_path: Path) -> SlideCache:
    return SlideCache(tmp_path, 1000)


def test_a_pin_of_another_process_holds_until_that_process_dies(
    shelf: SlideCache, tmp_path: Path
) -> None:
    """A process that is killed with a slide pinned pins it no longer."""
    digest = put(shelf, b"a" * 600)
    with Held(tmp_path, f"pinned({digest!r})") as other:
        with pytest.raises(TemporaryError):
            put(shelf, b"b" * 600)
        other.kill()
        put(shelf, b"b" * 600)
    assert not shelf.has(digest)


def test_what_a_killed_process_left_counts_for_nothing_and_is_removed(
    shelf: SlideCache, tmp_path: Path
) -> None:
    """A part whose writer was killed is no slide, and its room is there again."""
    with Held(tmp_path, "part()", "held.reserve(900); held.write(b'half')") as other:
        with pytest.raises(TemporaryError):
            put(shelf, b"b" * 600)
        other.kill()
    assert len(files(tmp_path)) == 1
    put(shelf, b"b" * 600)
    assert files(tmp_path) == ["slide.bin"]


def test_who_waits_for_a_source_can_be_stopped(shelf: SlideCache, tmp_path: Path) -> None:
    """Waiting for another process reports on and ends as soon as the watch says so."""
    with (
        Held(tmp_path, "source('key', None)"),
        pytest.raises(StopWork),
        shelf.source("key", Listener(lambda done: True)),
    ):
        pytest.fail("two hold the same source")


def test_a_source_is_free_when_its_holder_is_killed(shelf: SlideCache, tmp_path: Path) -> None:
    """Whoever waits gets the source when the process that held it dies."""
    with Held(tmp_path, "source('key', None)") as other:
        listener = Listener()
        killer = threading.Thread(target=lambda: (listener.called.wait(60), other.kill()))
        killer.start()
        with shelf.source("key", listener):
            killer.join()
    assert listener.heard[0] == ("waiting", 1, 0)


def test_threads_that_come_and_go_never_lose_a_pinned_slide(tmp_path: Path) -> None:
    """Six threads put and pin slides on a shelf with room for three: a pinned one is always whole."""
    shelf, faults = SlideCache(tmp_path, 3000), []

    def work(number: int) -> None:
        for turn in range(15):
            content = bytes([(number + turn) % 8]) * 900
            with ExitStack() as stack:
                try:
                    part = stack.enter_context(shelf.part())
                    part.reserve(900)
                except TemporaryError:
                    continue
                part.write(content)
                copy = stack.enter_context(shelf.put(part, ".bin"))
                if not copy.path.exists() or copy.path.read_bytes() != content:
                    faults.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*/slide*")) <= 3000
