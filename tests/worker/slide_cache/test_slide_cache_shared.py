import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from tests.support.cache_holder import CacheHolder
from tests.support.slide_caches import files, put
from tests.support.slide_server import Listener
from worker.progress import StopWork
from worker.slide_cache.cache import SlideCache


@pytest.fixture
def slide_cache(tmp_path: Path) -> SlideCache:
    return SlideCache(tmp_path, 1000)


def test_a_pin_of_another_process_holds_until_that_process_dies(
    slide_cache: SlideCache, tmp_path: Path
) -> None:
    """The pin of a process ends when the process is killed."""
    digest = put(slide_cache, b"a" * 600)
    with CacheHolder(tmp_path, f"pinned({digest!r})") as other:
        with pytest.raises(TemporaryError):
            put(slide_cache, b"b" * 600)
        other.kill()
        put(slide_cache, b"b" * 600)
    assert not slide_cache.contains(digest)


def test_what_a_killed_process_left_counts_for_nothing_and_is_removed(
    slide_cache: SlideCache, tmp_path: Path
) -> None:
    """A file whose writer was killed is no slide, and its space is free again."""
    with CacheHolder(tmp_path, "partial_file()", "held.reserve(900); held.write(b'half')") as other:
        with pytest.raises(TemporaryError):
            put(slide_cache, b"b" * 600)
        other.kill()
    assert len(files(tmp_path)) == 1
    put(slide_cache, b"b" * 600)
    assert files(tmp_path) == ["slide.bin"]


def test_who_waits_for_a_source_can_be_stopped(slide_cache: SlideCache, tmp_path: Path) -> None:
    """While it waits for another process it reports progress, which may stop it."""
    with (
        CacheHolder(tmp_path, "source('key', None)"),
        pytest.raises(StopWork),
        slide_cache.source("key", Listener(lambda done: True)),
    ):
        pytest.fail("two hold the same source")


def test_a_source_is_free_when_its_holder_is_killed(
    slide_cache: SlideCache, tmp_path: Path
) -> None:
    """Whoever waits gets the source when the process that held it dies."""
    with CacheHolder(tmp_path, "source('key', None)") as other:
        listener = Listener()

        def kill_holder() -> None:
            listener.called.wait(60)
            other.kill()

        killer = threading.Thread(target=kill_holder)
        killer.start()
        with slide_cache.source("key", listener):
            killer.join()
    assert listener.heard[0] == ("waiting", 1, 0)


def test_threads_that_come_and_go_never_lose_a_pinned_slide(tmp_path: Path) -> None:
    """Six threads put and pin slides in a cache for three: a pinned slide is always complete."""
    slide_cache = SlideCache(tmp_path, 3000)
    faults = []

    def work(number: int) -> None:
        for turn in range(15):
            content = bytes([(number + turn) % 8]) * 900
            with ExitStack() as stack:
                try:
                    partial_file = stack.enter_context(slide_cache.partial_file())
                    partial_file.reserve(900)
                except TemporaryError:
                    continue
                partial_file.write(content)
                slide = stack.enter_context(slide_cache.put(partial_file, ".bin"))
                if not slide.path.exists() or slide.path.read_bytes() != content:
                    faults.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*/slide*")) <= 3000
