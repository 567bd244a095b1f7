"""The slides that the viewer keeps open: how many, how long, and what a failed one costs."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import simplejpeg

from broker.errors import OrderError, TemporaryError
from tests.support.slides import a_picture, a_slide
from tests.support.stack import wait_for
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.reading import ReadSlideCache
from worker.slides.sandbox.client import Sandbox
from worker.viewer.iiif import ImageRequest
from worker.viewer.slides.open_slides import OpenSlide, OpenSlides
from worker.viewer.slides.viewed_slide import SlideOpener, ViewedSlide

TILE = ImageRequest(0, 0, 64, 64, 64, 64)


class CountingOpener(SlideOpener):
    """Counts the slides that it opens."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ReadSlideCache(folder / "shelf"), Sandbox(2, read_s=30), 30)
        self.opened: list[str] = []

    def open(self, slide: LocalSlide) -> ViewedSlide:
        """Open the slide."""
        self.opened.append(slide.path.name)
        return super().open(slide)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalSlide]:
    folder = tmp_path_factory.mktemp("slides")
    found = {}
    for name in ("a", "b", "c"):
        path = a_slide(folder / f"{name}.svs", a_picture(128, 96, ord(name)))
        found[name] = LocalSlide(path, f"stat:{name}", path.stat().st_size)
    return found


@pytest.fixture
def opener(tmp_path: Path) -> CountingOpener:
    return CountingOpener(tmp_path)


async def look_at(open_slides: OpenSlides, slide: LocalSlide) -> bytes:
    async with open_slides.use(slide) as opened, opened.turn(TILE):
        return await opened.jpeg(TILE)


def stop(process: int) -> None:
    """Stop all threads of a process; a busy system may take a moment for it."""
    os.kill(process, signal.SIGSTOP)
    states = list(Path(f"/proc/{process}/task").glob("*/stat"))
    wait_for(lambda: all(" T " in each.read_text() for each in states), 60, "the stop")


async def process_of(open_slides: OpenSlides, slide: LocalSlide) -> int:
    async with open_slides.use(slide) as opened:
        return opened.viewed._opened.process_id


def test_a_slide_is_opened_once_for_all_who_look_at_it(
    opener: CountingOpener, slides: dict[str, LocalSlide]
) -> None:
    """Twenty tiles that are asked for at once wait for the same process."""

    async def run() -> list[bytes]:
        open_slides = OpenSlides(opener, 2, 2)
        try:
            return await asyncio.gather(*(look_at(open_slides, slides["a"]) for _ in range(20)))
        finally:
            await open_slides.close()

    assert len(set(asyncio.run(run()))) == 1
    assert opener.opened == ["a.svs"]


def test_the_slide_that_was_looked_at_longest_ago_makes_room(
    opener: CountingOpener, slides: dict[str, LocalSlide]
) -> None:
    """Never more processes than the setting allows."""

    async def run() -> list[str]:
        open_slides = OpenSlides(opener, 2, 2)
        for name in ("a", "b", "a", "c"):
            await look_at(open_slides, slides[name])
        kept = open_slides.digests
        await open_slides.close()
        return kept

    assert asyncio.run(run()) == ["stat:a", "stat:c"]
    assert opener.opened == ["a.svs", "b.svs", "c.svs"]


def test_a_slide_in_use_is_not_closed_for_another(
    opener: CountingOpener, slides: dict[str, LocalSlide]
) -> None:
    """The other waits until a place is free."""

    async def run() -> bool:
        open_slides = OpenSlides(opener, 1, 2)
        async with open_slides.use(slides["a"]) as opened:
            waiting = asyncio.create_task(look_at(open_slides, slides["b"]))
            await opened.jpeg(TILE)
            has_waited = not waiting.done()
        await asyncio.wait_for(waiting, 60)
        await open_slides.close()
        return has_waited

    assert asyncio.run(run())
    assert opener.opened == ["a.svs", "b.svs"]


def test_a_slide_that_nobody_looks_at_is_closed(
    opener: CountingOpener, slides: dict[str, LocalSlide]
) -> None:
    """Its process has ended then, and the next one to look opens it again."""

    async def run() -> None:
        open_slides = OpenSlides(opener, 2, 2)
        process = await process_of(open_slides, slides["a"])
        closing = asyncio.create_task(open_slides.close_idle(0.1))
        folder = Path(f"/proc/{process}")
        await asyncio.to_thread(wait_for, lambda: not folder.exists(), 60, "the process's end")
        await look_at(open_slides, slides["a"])
        closing.cancel()
        await open_slides.close()

    asyncio.run(run())
    assert opener.opened == ["a.svs", "a.svs"]


def test_a_decoder_that_crashes_ends_for_its_slide_alone(
    opener: CountingOpener, slides: dict[str, LocalSlide]
) -> None:
    """The tile fails with a sentence, another slide goes on, and the next tile opens it again."""

    async def run() -> str:
        open_slides = OpenSlides(opener, 2, 2)
        await look_at(open_slides, slides["b"])
        process = await process_of(open_slides, slides["a"])
        os.kill(process, signal.SIGSEGV)
        with pytest.raises(OrderError) as failed:
            await look_at(open_slides, slides["a"])
        assert failed.value.code == "slide_unreadable"
        await look_at(open_slides, slides["b"])
        await look_at(open_slides, slides["a"])
        await open_slides.close()
        return failed.value.detail

    assert "SIGSEGV" in asyncio.run(run())
    assert opener.opened == ["b.svs", "a.svs", "a.svs"]


def test_a_decoder_that_is_killed_by_the_system_is_no_fault_of_the_slide(
    opener: CountingOpener, slides: dict[str, LocalSlide]
) -> None:
    """As it kills when memory is short: whoever asks again is answered."""

    async def run() -> None:
        open_slides = OpenSlides(opener, 2, 2)
        os.kill(await process_of(open_slides, slides["a"]), signal.SIGKILL)
        with pytest.raises(TemporaryError):
            await look_at(open_slides, slides["a"])
        await look_at(open_slides, slides["a"])
        await open_slides.close()

    asyncio.run(run())


def test_a_file_that_is_no_slide_is_not_tried_for_every_tile(
    opener: CountingOpener, tmp_path: Path
) -> None:
    """It is refused with the same words for some seconds, and keeps no place."""
    path = tmp_path / "text.svs"
    path.write_text("no slide")
    slide = LocalSlide(path, "stat:text", 8)

    async def run() -> set[str]:
        open_slides = OpenSlides(opener, 1, 2)
        told = set()
        for _ in range(3):
            with pytest.raises(OrderError) as refused:
                await look_at(open_slides, slide)
            told.add(f"{refused.value.code}: {refused.value.detail}")
        assert open_slides.digests == []
        await open_slides.close()
        return told

    assert len(asyncio.run(run())) == 1
    assert opener.opened == ["text.svs"]


def test_coarse_tiles_of_a_slide_without_levels_are_cut_from_one_overview(
    opener: CountingOpener, tmp_path: Path
) -> None:
    """They look as if they were read, and are made without the decoder."""
    pixels = a_picture(4200, 300, 7)
    pixels[:, :2100] = (200, 40, 40)
    pixels[:, 2100:] = (40, 40, 200)
    path = a_slide(tmp_path / "wide.svs", pixels, levels=(1,), tile=256)
    slide = LocalSlide(path, "stat:wide", path.stat().st_size)
    coarse = ImageRequest(1600, 0, 1000, 300, 250, 75)

    async def run() -> float:
        open_slides = OpenSlides(opener, 1, 2)
        async with open_slides.use(slide) as opened:
            viewed = opened.viewed
            assert viewed.lacks_coarse_levels
            assert viewed.is_cut_from_overview(coarse)
            assert not viewed.is_cut_from_overview(TILE)
            async with opened.turn(coarse):
                read = viewed._region(coarse).astype(int)
                stop(viewed._opened.process_id)
                cut = await asyncio.wait_for(opened.jpeg(coarse), 20)
                os.kill(viewed._opened.process_id, signal.SIGCONT)
        await open_slides.close()
        return float(abs(simplejpeg.decode_jpeg(cut).astype(int) - read).mean())

    assert asyncio.run(run()) < 4


def test_a_hung_decoder_is_ended_after_its_time(
    slides: dict[str, LocalSlide], tmp_path: Path
) -> None:
    """The tile fails within the limit, and other slides are not held up meanwhile."""
    sandbox = Sandbox(2, read_s=1)
    opener = SlideOpener(ReadSlideCache(tmp_path / "shelf"), sandbox, 1)

    async def run() -> float:
        open_slides = OpenSlides(opener, 2, 2)
        await look_at(open_slides, slides["b"])
        stop(await process_of(open_slides, slides["a"]))
        hung = asyncio.create_task(look_at(open_slides, slides["a"]))
        await look_at(open_slides, slides["b"])
        began = time.monotonic()
        with pytest.raises(OrderError) as failed:
            await asyncio.wait_for(hung, 60)
        assert "longer than 1 s" in failed.value.detail
        await look_at(open_slides, slides["a"])
        await open_slides.close()
        return time.monotonic() - began

    asyncio.run(run())


def test_pictures_of_a_slide_wait_for_their_turn(
    opener: CountingOpener, slides: dict[str, LocalSlide]
) -> None:
    """Two at a time, as many as its process reads; who waits can still leave."""

    async def run() -> list[str]:
        open_slides = OpenSlides(opener, 1, 2)
        seen: list[str] = []
        async with open_slides.use(slides["a"]) as opened:
            async with opened.turn(TILE), opened.turn(TILE):
                waiting = asyncio.create_task(take_turn(opened, seen))
                leaving = asyncio.create_task(take_turn(opened, seen))
                await asyncio.sleep(0)
                leaving.cancel()
                seen.append("first two")
            await waiting
        await open_slides.close()
        return seen

    assert asyncio.run(run()) == ["first two", "turn"]


async def take_turn(opened: OpenSlide, seen: list[str]) -> None:
    async with opened.turn(TILE):
        seen.append("turn")
