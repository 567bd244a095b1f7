"""Plain images: every format that is read, shown as stored; bombs are refused before decoding."""

import io
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from broker.errors import OrderError
from tests.support.paths import SLIDES
from tests.support.reader_suite import ReaderSuite
from tests.support.slides import a_picture
from worker.geometry.frame import Pixels
from worker.slides.image_reader import ImageReader, open_image

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")

PIXELS = a_picture(90, 70)
GREY = PIXELS[..., 0]
SIXTEEN_BITS = np.random.default_rng(1).integers(0, 2**16, (70, 90, 3), dtype=np.uint16)


class TestPng(ReaderSuite):
    def make(self, folder: Path, pixels: Pixels) -> Path:
        """Write a PNG by Pillow."""
        Image.fromarray(pixels).save(folder / "a.png")
        return folder / "a.png"

    def open(self, path: Path) -> ImageReader:
        return open_image(path)


def shown(path: Path) -> Pixels:
    """Return the whole image in RGBA."""
    picture = open_image(path)
    try:
        return np.asarray(picture.read_region((0, 0), 0, picture.level_dimensions[0]))
    finally:
        picture.close()


def refusal(path: Path) -> OrderError:
    """Return the error of an image that cannot be read."""
    with pytest.raises(OrderError) as caught:
        open_image(path)
    return caught.value


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.webp", {"lossless": True}),
        ("a.jp2", {"irreversible": False}),
        ("a.j2k", {"irreversible": False, "no_jp2": True}),
    ],
)
def test_every_lossless_kind_shows_the_pixels_written(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    """The pixels are those that were written, and the reader's name states the format."""
    Image.fromarray(PIXELS).save(tmp_path / name, **options)
    assert np.array_equal(shown(tmp_path / name)[..., :3], PIXELS)
    with Image.open(tmp_path / name) as reference:
        assert open_image(tmp_path / name).name.endswith(f"({reference.format})")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [0, 1])
def test_jpegs_are_decoded_as_pillow_does(tmp_path: Path, mode: str, progressive: int) -> None:
    """Baseline and progressive JPEGs in color, grey and CMYK."""
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).convert(mode).save(path, progressive=bool(progressive), quality=95)
    with Image.open(path) as reference:
        assert np.array_equal(shown(path)[..., :3], np.asarray(reference.convert("RGB")))


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGBA"])
def test_palettes_bits_and_grey_become_colours(tmp_path: Path, mode: str) -> None:
    """Palettes, single bits, grey and alpha channels of PNGs become RGBA."""
    stored = Image.fromarray(PIXELS).convert(mode)
    stored.save(tmp_path / "a.png")
    assert np.array_equal(shown(tmp_path / "a.png"), np.asarray(stored.convert("RGBA")))


def test_transparency_in_a_palette_or_by_a_key_is_kept(tmp_path: Path) -> None:
    """One entry of the palette is transparent, or one color."""
    palette = Image.fromarray(PIXELS).convert("P")
    first = int(np.asarray(palette)[0, 0])
    palette.save(tmp_path / "palette.png", transparency=first)
    Image.fromarray(PIXELS).save(tmp_path / "key.png", transparency=tuple(PIXELS[0, 0].tolist()))
    for name in ("palette.png", "key.png"):
        assert shown(tmp_path / name)[0, 0, 3] == 0
        assert shown(tmp_path / name)[..., 3].max() == 255


@pytest.mark.parametrize("samples", [SIXTEEN_BITS, SIXTEEN_BITS[..., 0]])
@pytest.mark.parametrize("encode", [imagecodecs.png_encode, imagecodecs.jpeg2k_encode])
def test_of_16_bits_the_high_ones_are_shown(tmp_path: Path, samples: Any, encode: Any) -> None:
    """Color and grey, up to the brightest value, which must not become black."""
    samples = np.where(samples > 60000, np.uint16(65535), samples)
    path = written(tmp_path / "a", encode(samples))
    colours = samples if samples.ndim == 3 else np.repeat(samples[..., None], 3, axis=2)
    assert np.array_equal(shown(path)[..., :3], colours >> 8)


def a_deep_png(samples: Any, significant_bits: int | None) -> bytes:
    """Return a PNG of 16 bits, with an sBIT chunk or without."""
    content: bytes = imagecodecs.png_encode(samples)
    if significant_bits is None:
        return content
    chunk = b"sBIT" + bytes([significant_bits] * 3)
    end_of_header = 33
    return (
        content[:end_of_header]
        + struct.pack(">I", 3)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + content[end_of_header:]
    )


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_a_png_says_how_many_bits_are_significant(tmp_path: Path, bits: int) -> None:
    """By its sBIT chunk, whether samples are scaled up to 16 bits, as the standard asks, or not."""
    low = PIXELS.astype(np.uint16) << (bits - 8)
    high = PIXELS.astype(np.uint16) << 8
    for samples in (low, high):
        path = written(tmp_path / "a.png", a_deep_png(samples, bits))
        assert np.array_equal(shown(path)[..., :3], PIXELS)
    assert open_image(path).name.endswith("(PNG)")


@pytest.mark.parametrize("encode", [imagecodecs.png_encode, imagecodecs.jpeg2k_encode])
@pytest.mark.parametrize("factor", [1, 16])
def test_colour_of_16_bits_that_uses_fewer_is_refused(
    tmp_path: Path, encode: Any, factor: int
) -> None:
    """Nothing says which value is white, so it would be shown too dark; so would grey."""
    samples = PIXELS.astype(np.uint16) * factor
    samples[0, 0] = 255 * factor
    for stored in (samples, samples[..., 0]):
        error = refusal(written(tmp_path / "a", encode(np.ascontiguousarray(stored))))
        assert error.code == "slide_unreadable"
        assert f"reach only {255 * factor}" in error.detail
        assert "8-bit RGB" in error.hint


def test_transparency_of_a_deep_png_is_kept(tmp_path: Path) -> None:
    """Its fourth channel has 16 bits, too."""
    samples = np.dstack([SIXTEEN_BITS, SIXTEEN_BITS[..., 0]])
    path = written(tmp_path / "a.png", imagecodecs.png_encode(samples))
    assert np.array_equal(shown(path), samples >> 8)


def test_of_an_animation_the_first_frame_is_shown(tmp_path: Path) -> None:
    """Animated PNG and WebP show their first frame."""
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    for name in ("a.png", "a.webp"):
        first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
        assert np.array_equal(shown(tmp_path / name)[..., :3], PIXELS)


def test_coordinates_are_those_of_the_stored_pixels(tmp_path: Path) -> None:
    """An EXIF orientation is not applied, unlike in viewers."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(shown(tmp_path / "a.png")[..., :3], PIXELS)


def a_bomb(width: int, height: int) -> bytes:
    """Return a PNG of one color with one bit for each pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + width // 8) * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    """A few hundred bytes claim 3,600 megapixels.

    The hint says how to store a real image of that size.
    """
    error = refusal(written(tmp_path / "a.png", a_bomb(60000, 60000)))
    assert (error.code, "60000 x 60000 px; at most 268435456" in error.detail) == (
        "slide_unreadable",
        True,
    )
    assert "small tiles" in error.hint


def a_large_webp(width: int, height: int) -> bytes:
    """Return the beginning of a WebP that claims this size."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "WEBP", lossless=True)
    content = bytearray(buffer.getvalue())
    at = content.index(b"VP8L") + 9  # 14 bits each of width - 1 and height - 1
    sizes = int.from_bytes(content[at : at + 4], "little") & ~(2**28 - 1)
    sizes |= (width - 1) | (height - 1) << 14
    content[at : at + 4] = sizes.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize("size", [(14000, 13000), (16383, 16383)])
def test_a_webp_that_pillow_refuses_is_refused_with_a_hint(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """Pillow raises an error of its own class for more than 178 megapixels."""
    error = refusal(written(tmp_path / "a.webp", a_large_webp(*size)))
    assert error.code == "slide_unreadable"
    assert f"{size[0] * size[1]} pixels" in error.detail
    assert "small tiles" in error.hint


def test_what_pillow_calls_a_bomb_is_read_without_a_word(tmp_path: Path) -> None:
    """Pillow warns of 90 megapixels and refuses 180. An image of 182 is read without a warning."""
    Image.new("L", (14000, 13000), 255).save(tmp_path / "a.png", compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = open_image(tmp_path / "a.png")
    assert picture.read_region((13990, 12990), 0, (10, 10)).getextrema() == ((255, 255),) * 4
    picture.close()


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><p>Sign in</p>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a.."]
)
def test_other_kinds_are_named_by_their_beginning(tmp_path: Path, content: bytes) -> None:
    """Formats that no scanner writes are refused, also if Pillow knows them."""
    error = refusal(written(tmp_path / "a.png", content))
    assert error.code == "not_a_slide"
    assert repr(content[:16]) in error.detail


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_damaged_the_refusal_is_an_order_error(tmp_path: Path) -> None:
    """Images with random changes or a missing end are read or refused; nothing else is raised."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ends = set()
    for kind in ["PNG", "JPEG", "WEBP", "JPEG2000", "BMP"] * 60:
        whole = io.BytesIO()
        Image.fromarray(PIXELS).save(whole, kind)
        data = bytearray(whole.getvalue()[: rng.choice([None, rng.randrange(1, 4000)])])
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(min(len(data), rng.choice([64, 400, 10**9])))] = rng.randrange(256)
        try:
            shown(written(tmp_path / "a", bytes(data)))
        except OrderError as error:
            ends.add(error.code)
    assert ends == {"not_a_slide", "slide_unreadable"}


@real_slides
@pytest.mark.parametrize(
    "name", ["skimage-ihc.png", "stardist-histo.jpg", "histolab-high-nuclei-score-level0.png"]
)
def test_real_pictures_are_what_pillow_shows(name: str) -> None:
    """Real images in RGB, JPEG and RGBA."""
    with Image.open(SLIDES / name) as reference:
        assert np.array_equal(shown(SLIDES / name), np.asarray(reference.convert("RGBA")))
