"""What is said of files that are no slides, are damaged, or would fill the memory."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from broker.errors import OrderError
from tests.support import vendor_slides
from tests.support.mirax import a_mirax
from tests.support.paths import SLIDES
from tests.support.slides import a_picture, a_slide, a_tiled_tiff
from worker.geometry.frame import Area, Pixels
from worker.slides.partial import manifest
from worker.slides.slide import Slide

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")


def whole(slide: Slide) -> Pixels:
    """Level 0, whole."""
    return slide.read(0, 0, slide.frame.width, slide.frame.height, 1, 1)


def refusal(path: Path) -> OrderError:
    """What a slide that cannot be used says, on opening or on reading."""
    with pytest.raises(OrderError) as caught, Slide.open(path) as slide:
        whole(slide)
    return caught.value


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><p>Sign in</p>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"PK\3\4zip"]
)
def test_what_is_no_slide_is_named_by_its_beginning(tmp_path: Path, content: bytes) -> None:
    """A page, an archive, a program for a printer, nothing at all: `not_a_slide`, and never opened further."""
    path = tmp_path / "a.svs"
    path.write_bytes(content)
    error = refusal(path)
    assert error.code == "not_a_slide"
    assert repr(content[:16]) in error.detail
    assert str(tmp_path) not in error.detail


def test_a_broken_tile_makes_the_slide_unreadable(tmp_path: Path) -> None:
    """The slide opens; reading the tile says why it fails, and says it again when asked again."""
    path = a_slide(tmp_path / "a.svs", a_picture(200, 200), levels=(1,))
    break_tile(path, 5)
    with Slide.open(path) as slide:
        for _ in range(2):
            with pytest.raises(OrderError, match="OpenSlide says") as caught:
                whole(slide)
            assert caught.value.code == "slide_unreadable"


def test_a_slide_that_no_reader_can_begin_says_what_each_said(tmp_path: Path) -> None:
    """Its first tile is broken: OpenSlide's words come first, then the other reader's."""
    path = a_slide(tmp_path / "a.svs", a_picture(200, 200), levels=(1,))
    break_tile(path, 0)
    with pytest.raises(OrderError, match=r"OpenSlide says: .*; The TIFF cannot be read") as caught:
        Slide.open(path)
    assert caught.value.code == "slide_unreadable"


def break_tile(path: Path, number: int) -> None:
    """Put 200 bytes of nonsense into a tile of level 0."""
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].dataoffsets[number]
    data = bytearray(path.read_bytes())
    data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)


def test_a_trestle_slide_that_openslide_refuses_is_not_shown_unstitched(tmp_path: Path) -> None:
    """Its tiles overlap where a scanner says so: another reader would put them beside each other."""
    path = vendor_slides.trestle(tmp_path / "a", a_picture(200, 200))
    break_tile(path, 0)
    assert "OpenSlide says" in refusal(path).detail
    assert "tifffile" not in refusal(path).detail


def test_only_our_own_manifest_is_believed(tmp_path: Path) -> None:
    """A file of another name that reads like one is no slide, and one that names itself is damaged."""
    said = manifest.dumped(
        manifest.Ranges(file=manifest.NAME, within=Area(0, 0, 9, 9), levels=((9, 9),))
    )
    for name, code in (("slide.vms", "not_a_slide"), (manifest.NAME, "slide_unreadable")):
        (tmp_path / name).write_bytes(said)
        assert refusal(tmp_path / name).code == code


@pytest.mark.parametrize("name", ["slide.mrxs", "slide.MRXS"])
def test_the_preview_of_a_mirax_slide_is_not_taken_for_it(tmp_path: Path, name: str) -> None:
    """Its main file is a small JPEG: without the data folder beside it, that is all there is, and it is refused."""
    main = a_mirax(tmp_path, a_picture(32, 32)).rename(tmp_path / name)
    shutil.rmtree(tmp_path / "slide")
    error = refusal(main)
    assert error.code == "slide_unreadable"
    assert "data files are missing" in error.detail


def test_a_cut_picture_is_unreadable(tmp_path: Path) -> None:
    """Half a PNG is no picture of half a slide."""
    Image.fromarray(a_picture(100, 100)).save(tmp_path / "a.png")
    path = tmp_path / "half.png"
    path.write_bytes((tmp_path / "a.png").read_bytes()[:9000])
    assert refusal(path).code == "slide_unreadable"


def test_a_picture_of_16_bits_shows_its_high_ones(tmp_path: Path) -> None:
    """It is not clipped to white."""
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(tmp_path / "a.png")
    with Slide.open(tmp_path / "a.png") as slide:
        assert (whole(slide) == 40000 >> 8).all()


def test_a_small_file_of_a_huge_picture_is_refused(tmp_path: Path) -> None:
    """A few kilobytes that would fill the memory are not decoded."""
    Image.new("1", (17000, 17000)).save(tmp_path / "a.png")
    error = refusal(tmp_path / "a.png")
    assert error.code == "slide_unreadable"
    assert "small tiles" in error.hint


def test_a_slide_of_huge_tiles_is_refused(tmp_path: Path) -> None:
    """A tile that claims 65,536 pixels a side would be decoded whole."""
    path = a_tiled_tiff(tmp_path / "a.tiff", a_picture(60, 60))
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["TileWidth"].overwrite(65520)
        tiff.pages[0].tags["TileLength"].overwrite(65520)
    assert "65520 x 65520" in refusal(path).detail


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_damaged_the_refusal_is_an_order_error(tmp_path: Path) -> None:
    """Files cut short and with bytes changed at random are read or refused; nothing else is ever raised."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    picture = Image.fromarray(a_picture(60, 50))
    for suffix in ("png", "jpg", "tif", "webp"):
        picture.save(tmp_path / f"a.{suffix}")
    whole_files = [*tmp_path.iterdir(), a_slide(tmp_path / "a.svs", a_picture(90, 70))]
    codes = set()
    for path in [path for path in whole_files for _ in range(40)]:
        data = bytearray(path.read_bytes())[: rng.choice([None, rng.randrange(1, 4000)])]
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(min(len(data), rng.choice([64, 400, 10**9])))] = rng.randrange(256)
        damaged = tmp_path / "damaged"
        damaged.write_bytes(data)
        try:
            with Slide.open(damaged) as slide:
                slide.read(-3.5, 2.25, 30, 20, 1.3, 1.7)
        except OrderError as error:
            codes.add(error.code)
    assert codes == {"not_a_slide", "slide_unreadable"}


@real_slides
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("highdicom-sm_annotations.dcm", "not_a_slide"),
        ("README.md", "not_a_slide"),
    ],
)
def test_what_is_no_picture_is_refused(name: str, code: str) -> None:
    """Annotations and a text are no slides; no message tells the folder."""
    error = refusal(SLIDES / name)
    assert error.code == code
    assert str(SLIDES) not in error.detail
