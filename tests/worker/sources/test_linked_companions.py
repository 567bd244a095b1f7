"""Slides of several files whose names are encoded otherwise than their reader expects."""

import unicodedata
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from broker.errors import OrderError
from broker.orders.request import ScanRequest
from broker.settings.config import SlidesSettings, WorkerSettings
from tests.support import vendor_slides
from tests.support.mirax import a_mirax
from tests.support.multi_file_slides import MultiFileFetcher, fetcher
from tests.support.slide_server import Listener
from tests.support.slides import a_picture
from worker.geometry.frame import Pixels
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.slides.slide import Slide
from worker.sources.fetch import SlideFetcher
from worker.sources.path import find_slide

__all__ = ["fetcher"]
PIXELS = a_picture(96, 64)
NAME = "Größe ệ"


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def in_other_form(folder: Path) -> None:
    """Rename everything but the main file to the other form."""
    for path in sorted(folder.iterdir()):
        other = nfd(path.name) if path.name == nfc(path.name) else nfc(path.name)
        if path.suffix not in {".mrxs", ".vms"}:
            path.rename(path.with_name(other))


def mirax(folder: Path, name: str) -> Path:
    return a_mirax(folder, PIXELS, name)


def vms(folder: Path, name: str) -> Path:
    folder.mkdir()
    return vendor_slides.vms(folder / name, PIXELS)


def fetched(path: Path, root: Path, cache: Path, pins: ExitStack) -> LocalSlide:
    settings = WorkerSettings(slides=SlidesSettings(roots=(root,)))
    http = session((), connect_timeout_s=1, read_timeout_s=1)
    slides = SlideFetcher(SlideCache(cache, 10**7), http, Sandbox(threads=1), settings)
    source = {"type": "path", "path": str(path)}
    scan = ScanRequest.model_validate({"id": "1", "source": source})
    return pins.enter_context(slides.fetch(scan, None, Listener()))


def middle(slide: Slide) -> Pixels:
    return slide.read(slide.frame.bounds_x + 8, slide.frame.bounds_y + 8, 48, 32, 1, 1)


@pytest.mark.parametrize("form", [nfc, nfd])
@pytest.mark.parametrize("make", [mirax, vms])
def test_its_files_are_found_by_their_letters(
    tmp_path: Path, make: Callable[[Path, str], Path], form: Callable[[str], str]
) -> None:
    """The folder of an .mrxs, and the JPEGs that an index names; nothing is written beside it."""
    root = tmp_path / "slides"
    main = make(root, form(NAME))
    with Slide.open(main) as slide:
        expected = middle(slide)
    in_other_form(root)
    before = sorted(root.rglob("*"))
    with pytest.raises(OrderError):
        Slide.open(main).close()
    with ExitStack() as pins:
        found = fetched(main, root, tmp_path / "cache", pins)
        assert found.digest.startswith("stat:")
        with Sandbox(threads=1).open(found.path) as slide:
            region = np.empty((32, 48, 3), np.uint8)
            slide.fill(region, slide.frame.bounds_x + 8, slide.frame.bounds_y + 8, 1, 1)
        assert np.array_equal(region, expected)
        again = fetched(main, root, tmp_path / "cache", pins)
        assert (again.path, again.digest) == (found.path, found.digest)
    assert sorted(root.rglob("*")) == before


def test_the_digest_is_of_all_its_files(tmp_path: Path) -> None:
    """Also of those in a folder whose name is encoded otherwise."""
    main = mirax(tmp_path, nfc(NAME))
    in_other_form(tmp_path)
    first = find_slide(str(main), [tmp_path]).digest
    with (tmp_path / nfd(NAME) / "Data0000.dat").open("ab") as file:
        file.write(b"more")
    assert find_slide(str(main), [tmp_path]).digest != first


def test_two_folders_of_the_same_letters_are_not_guessed_at(tmp_path: Path) -> None:
    """Neither has the name that is looked for, and only one belongs to the slide."""
    main = mirax(tmp_path, "\u00ea\u0323")
    in_other_form(tmp_path)
    for path in list(tmp_path.iterdir()):
        if path.is_dir():
            path.rename(tmp_path / nfc("ệ"))
    (tmp_path / nfd("ệ")).mkdir()
    with pytest.raises(OrderError, match="2 names with the letters") as caught:
        find_slide(str(main), [tmp_path])
    assert caught.value.code == "not_a_slide"


@pytest.mark.parametrize("make", [mirax, vms])
def test_in_an_archive_too(
    fetcher: MultiFileFetcher, tmp_path: Path, make: Callable[[Path, str], Path]
) -> None:
    """A Mac packs its own names, the index inside was written elsewhere."""
    folder = tmp_path / "made"
    make(folder, nfc(NAME))
    in_other_form(folder)
    contents = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    with fetcher.archive(fetcher.zip(contents)) as copy, Slide.open(copy.path) as slide:
        assert slide.frame.width in {96, 192}
        assert middle(slide).std() > 10
