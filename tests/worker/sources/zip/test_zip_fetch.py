import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from broker.errors import OrderError
from tests.support import vendor_slides
from tests.support.mirax import a_mirax
from tests.support.multi_file_slides import MultiFileFetcher, a_series, fetcher, zipped
from tests.support.slide_server import Listener
from tests.support.slides import a_picture, a_slide
from worker.progress import StopWork
from worker.slides.slide import Slide

__all__ = ["fetcher"]
PIXELS = a_picture(96, 64)
LITTER = {
    "__MACOSX/case/._fine.dcm": b"x",
    "case/.DS_Store": b"x",
    "DICOMDIR": b"\0" * 128 + b"DICM",
    "read.me": b"hi",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_zipped_series_is_one_slide(fetcher: MultiFileFetcher, tmp_path: Path) -> None:
    """Wherever in the zip its files lie, and whatever packers and file systems add."""
    files = {
        f"case/{name}": content for name, content in a_series(tmp_path / "series", PIXELS).items()
    }
    with fetcher.archive(fetcher.zip(files | LITTER)) as copy, Slide.open(copy.path) as slide:
        assert len(list(copy.path.parent.iterdir())) == 3
        assert np.array_equal(slide.read(0, 0, 96, 64, 1, 1), PIXELS)


@pytest.mark.parametrize("zipped_up", [False, True])
def test_a_mirax_slide_keeps_its_full_canvas(
    fetcher: MultiFileFetcher, tmp_path: Path, zipped_up: bool
) -> None:
    """What was scanned begins at the bounds; coordinates are those of the whole canvas, in x and y
    alike.
    """
    path = a_mirax(tmp_path / "made" / "case", PIXELS)
    zip_url = fetcher.zip(contents(tmp_path / "made") | LITTER)
    with fetcher.archive(zip_url) as copy, Slide.open(copy.path if zipped_up else path) as slide:
        frame = slide.frame
        assert (frame.width, frame.height, frame.bounds_x, frame.bounds_y) == (192, 128, 64, 32)
        assert (frame.mpp_x, frame.mpp_y) == (0.5, 0.25)
        assert np.array_equal(slide.read(64, 32, 96, 64, 1, 1), PIXELS)
        assert slide.read(63, 31, 2, 2, 1, 1).tolist() == [
            [[255] * 3] * 2,
            [[255] * 3, PIXELS[0, 0].tolist()],
        ]
        assert copy.path.name == "slide.mrxs"


def test_a_slide_of_files_beside_each_other_is_one_slide(
    fetcher: MultiFileFetcher, tmp_path: Path
) -> None:
    """A Hamamatsu index names its JPEGs, which stay beside it."""
    (tmp_path / "made").mkdir()
    vendor_slides.vms(tmp_path / "made" / "slide", PIXELS)
    with (
        fetcher.archive(fetcher.zip(contents(tmp_path / "made"))) as copy,
        Slide.open(copy.path) as slide,
    ):
        assert copy.path.name == "slide.vms"
        assert (slide.frame.width, slide.frame.height) == (96, 64)


def test_a_zipped_file_is_the_same_as_the_file(fetcher: MultiFileFetcher, tmp_path: Path) -> None:
    """A slide of one file stands in the slide cache once, zipped or not; pictures beside it do not
    matter.
    """
    slide = a_slide(tmp_path / "slide.svs", PIXELS).read_bytes()
    Image.new("RGB", (8, 8)).save(tmp_path / "thumbnail.png")
    thumbnail = (tmp_path / "thumbnail.png").read_bytes()
    with fetcher.archive(fetcher.zip({"a/slide.svs": slide, "a/thumbnail.png": thumbnail})) as copy:
        assert copy.path.read_bytes() == slide
    with fetcher.file(fetcher.serve({"slide.svs": slide})[0]) as unzipped:
        assert unzipped == copy
    with fetcher.archive(fetcher.zip({"only.png": thumbnail}, "picture.zip")) as picture:
        assert picture.path.name == "slide.png"
    assert len(fetcher.entries()) == 2


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.svs": b"II*\0", "b/c.tif": b"MM\0*"}, "more than one slide: 'a.svs', 'b/c.tif'"),
        (
            {"a.svs": b"II*\0", "b.dcm": b"\0" * 128 + b"DICM"},
            "more than one slide: 1 DICOM files, 'a.svs'",
        ),
        (
            {"a.png": b"\x89PNG\r\n\x1a\n", "b.jpg": b"\xff\xd8\xff"},
            "more than one slide: 'a.png', 'b.jpg'",
        ),
        (
            {"inner.zip": zipped({"a.svs": b"II*\0"}), "notes.txt": b"x"},
            "no slide, but 'inner.zip', 'notes.txt'",
        ),
        ({}, "no slide, but nothing"),
        ({"a.mrxs": b"\xff\xd8\xff", "b/Slidedat.ini": b"x"}, "'a.mrxs', but no 'a/Slidedat.ini'"),
        ({"a.MRXS": b"\xff\xd8\xff", "a/Slidedat.ini": b"x"}, "no slide"),
        (
            {"a.mrxs": b"\xff\xd8\xff", "a/Slidedat.ini": b"FILE_0 = ../../x"},
            "outside of its own folder",
        ),
        ({"a.mrxs": b"\xff\xd8\xff", "a/Slidedat.ini": b"x" * (2**20 + 1)}, "too long"),
    ],
    ids=[
        "two",
        "two kinds",
        "two pictures",
        "nested",
        "empty",
        "no folder",
        "in capitals",
        "upwards",
        "long",
    ],
)
def test_a_zip_without_one_slide_is_refused(
    fetcher: MultiFileFetcher, files: dict[str, bytes], says: str
) -> None:
    """With what was found in it instead."""
    error = fetcher.refusal_of(zip_url=fetcher.zip(files))
    assert error.code == "not_a_slide"
    assert says in error.detail


def test_what_is_no_zip_is_refused_early(fetcher: MultiFileFetcher) -> None:
    """By its first bytes, before all of it came."""
    error = fetcher.refusal_of(zip_url=fetcher.serve({"slide.zip": b"II*\0" + b"x" * 5000})[0])
    assert (error.code, error.detail) == ("not_a_slide", "what came is no zip archive")


def test_an_unchanged_zip_is_not_fetched_again(fetcher: MultiFileFetcher, tmp_path: Path) -> None:
    """The server is asked by the zip's ETag; the slide that came out of it stands in the slide
    cache.
    """
    zip_url = fetcher.zip(a_series(tmp_path / "series", PIXELS))
    for _ in range(2):
        with fetcher.archive(zip_url) as copy:
            assert copy.path.exists()
    first, second = fetcher.headers("If-None-Match")
    assert (first, bool(second)) == (None, True)


def test_the_zip_must_be_the_one_that_was_ordered(
    fetcher: MultiFileFetcher, tmp_path: Path
) -> None:
    """The order's checksum is of the zip itself, and an earlier fetch without one
    proves nothing.
    """
    content = zipped(a_series(tmp_path / "series", PIXELS))
    (zip_url,) = fetcher.serve({"slide.zip": content})
    sha256 = hashlib.sha256(content).hexdigest()
    with fetcher.archive(zip_url), fetcher.archive(zip_url, sha256) as copy:
        assert copy.path.exists()
    with pytest.raises(OrderError, match=sha256), fetcher.archive(zip_url, "0" * 64):
        pytest.fail("it is another zip")


def test_unpacking_can_be_stopped(fetcher: MultiFileFetcher, tmp_path: Path) -> None:
    """A cancelled order leaves neither the zip nor what came out of it."""
    listener = Listener(lambda done: done == len(PIXELS.tobytes()))
    zip_url = fetcher.zip(
        {"a.mrxs": b"\xff\xd8\xff", "a/Slidedat.ini": b"x", "a/b": PIXELS.tobytes()[:-4]}
    )
    with pytest.raises(StopWork), fetcher.archive(zip_url, progress=listener):
        pytest.fail("it was stopped")
    assert listener.heard[-1] == ("unpacking", 18432, 18432)
    assert fetcher.bytes() == 0
