"""TIFFs that lie: each is refused in words, in bounded time and memory, and nothing but `OrderError` is raised."""

import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from broker.errors import OrderError
from tests.support.slides import a_picture, a_slide
from worker.slides.tiff.reader import open_tiff

PIXELS = a_picture(90, 70)
KINDS = ["zlib", "jpeg", "jpegxl", "webp", "jpeg2000", "lzw", "jpegxr"]
_GROWTH = """
import resource, sys
from pathlib import Path
from broker.errors import OrderError
from worker.slides.tiff.reader import open_tiff
for path in map(Path, sys.argv[1:]):
    pyramid = open_tiff(path)
    try:
        pyramid.read_region((0, 0), 0, (64, 64))
    except OrderError:
        pass
    if path.name == "good.tif":
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def refusal(path: Path) -> OrderError:
    """What a TIFF that cannot be used says, when it is opened or read."""
    with pytest.raises(OrderError) as caught:
        read(path)
    assert str(path.parent) not in f"{caught.value.detail} {caught.value.hint}"
    return caught.value


def read(path: Path) -> None:
    """Open, read of every level what does not cost much, close."""
    pyramid = open_tiff(path)
    try:
        for level, (width, height) in enumerate(pyramid.level_dimensions):
            pyramid.read_region((0, 0), level, (min(width, 300), min(height, 300)))
    finally:
        pyramid.close()


def overwritten(path: Path, **tags: Any) -> Path:
    """A tiled TIFF of one page whose tags say something else."""
    tifffile.imwrite(
        path, PIXELS, tile=(64, 64), photometric="rgb", compression="zlib", metadata=None
    )
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in tags.items():
            tiff.pages[0].tags[name].overwrite(value)
    return path


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"TileWidth": 65520, "TileLength": 65520}, "65520 x 65520 px; at most"),
        ({"TileWidth": 0}, "90 x 0 px"),
        ({"ImageWidth": 65535, "ImageLength": 65535}, "need 1048576 tiles, it has 4"),
        ({"Compression": 65002}, "65002"),
        ({"PhotometricInterpretation": 32803}, "CFA"),
        ({"SamplesPerPixel": 9}, "9 channels"),
        ({"TileOffsets": (2**31, 8, 8, 8)}, "the file ends"),
        ({"TileByteCounts": (2**31, 9, 9, 9)}, "2147483648 bytes"),
    ],
)
def test_false_claims_are_named(tmp_path: Path, tags: dict[str, Any], words: str) -> None:
    """Which value, and what is wrong with it."""
    assert words in refusal(overwritten(tmp_path / "a.tif", **tags)).detail


def bombed(path: Path, compression: str, bomb: bytes) -> Path:
    """A TIFF that says it has one tile of 64 x 64 px, and holds something else in its place."""
    tifffile.imwrite(
        path,
        PIXELS[:64, :64],
        tile=(64, 64),
        photometric="rgb",
        compression=compression,
        metadata=None,
    )
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["TileOffsets"].overwrite((path.stat().st_size,))
        tiff.pages[0].tags["TileByteCounts"].overwrite((len(bomb),))
    with path.open("ab") as file:
        file.write(bomb)
    return path


def enlarged(picture: bytes, marker: bytes, at: int, layout: str) -> bytes:
    """A picture whose own header claims 20,000 x 20,000 px."""
    start = picture.index(marker) + at
    claim = struct.pack(layout, 20000, 20000)
    return picture[:start] + claim + picture[start + len(claim) :]


@pytest.mark.parametrize("compression", ["jpegxl", "jpegxr", "png", "webp"])
def test_a_tile_that_holds_a_larger_picture_is_refused(tmp_path: Path, compression: str) -> None:
    """The directory says 64 x 64 px, the picture in it 500 x 500."""
    larger = getattr(imagecodecs, f"{compression}_encode")(np.zeros((500, 500, 3), np.uint8))
    assert (
        "is not a picture of 64 x 64 px"
        in refusal(bombed(tmp_path / "a.tif", compression, larger)).detail
    )


def test_a_tile_that_claims_a_huge_picture_is_not_decoded(tmp_path: Path) -> None:
    """The headers of JPEG and JPEG 2000 are read before their decoders take memory."""
    jpeg = enlarged(imagecodecs.jpeg_encode(PIXELS), b"\xff\xc0", 5, ">2H")
    jpeg_2000 = enlarged(imagecodecs.jpeg2k_encode(PIXELS), b"\xff\x4f\xff\x51", 8, ">2I")
    for compression, bomb in (("jpeg", jpeg), ("jpeg2000", jpeg_2000)):
        assert (
            "20000 x 20000 px; at most"
            in refusal(bombed(tmp_path / "a.tif", compression, bomb)).detail
        )


def test_no_bomb_costs_more_than_its_tile(tmp_path: Path) -> None:
    """Tiles that unfold to 75 MB each are read or refused by a process that hardly grows."""
    zeros = np.zeros((5000, 5000, 3), np.uint8)
    bombs = {
        "zlib": imagecodecs.zlib_encode(zeros.tobytes()),
        "zstd": imagecodecs.zstd_encode(zeros.tobytes()),
        "png": imagecodecs.png_encode(zeros, level=1),
        "jpegxl": imagecodecs.jpegxl_encode(zeros, lossless=True, effort=1),
    }
    good = overwritten(tmp_path / "good.tif")
    paths = [str(bombed(tmp_path / f"{name}.tif", name, bomb)) for name, bomb in bombs.items()]
    child = subprocess.run(
        [sys.executable, "-c", _GROWTH, str(good), *paths], check=True, capture_output=True
    )
    assert int(child.stdout) < 40 * 1024


def test_a_chain_of_pages_that_bites_its_tail_ends(tmp_path: Path) -> None:
    """The last directory names the first as the next."""
    path = a_slide(tmp_path / "a.tif", PIXELS, levels=(1,))
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0].offset, tiff.pages.next_page_offset
    with path.open("r+b") as file:
        file.seek(last)
        file.write(struct.pack("<I", first))
    assert "chain of directories" in refusal(path).detail


def test_a_chain_without_end_is_refused(tmp_path: Path) -> None:
    """Three hundred directories are no slide."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for _ in range(300):
            tiff.write(PIXELS[:16, :16], photometric="rgb", metadata=None)
    assert "more than 256 pages" in refusal(tmp_path / "a.tif").detail


def test_a_directory_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    """A description that claims most of a huge file, which costs its sender nothing."""
    path = overwritten(tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags["Software"]
    with path.open("r+b") as file:
        file.truncate(2**30)
        file.seek(tag.offset)
        file.write(struct.pack("<HHII", 270, 2, 2**29, 8))
    assert "directories are larger" in refusal(path).detail


def test_ome_xml_with_a_document_type_is_refused(tmp_path: Path) -> None:
    """Entities are how XML fills memories and reads other files."""
    xml = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "aaaa">]><OME><Image><Pixels/></Image></OME>'
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", description=xml, metadata=None)
    assert "document type" in refusal(tmp_path / "a.tif").detail


@pytest.mark.parametrize("place", ["anywhere", "directory"])
def test_whatever_is_damaged_the_refusal_is_an_order_error(tmp_path: Path, place: str) -> None:
    """Bytes changed at random, everywhere or in the directory alone: read or refused, nothing else is ever raised."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ends = {
        damaged(tmp_path / f"{number}.tif", compression, place, rng)
        for number, compression in enumerate(KINDS * 20)
    }
    assert ends <= {"read", "slide_unreadable", "not_a_slide"}


def damaged(path: Path, compression: str, place: str, rng: random.Random) -> str:
    """Make a TIFF, damage it, read it; what came of it."""
    tifffile.imwrite(path, PIXELS, tile=(64, 64), photometric="rgb", compression=compression, metadata=None,
                     bigtiff=rng.random() < 0.5)  # fmt: skip
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].offset if place == "directory" else 0
    data = bytearray(path.read_bytes())
    stop = start + 400 if place == "directory" else len(data)
    for _ in range(rng.choice([1, 3, 9])):
        data[rng.randrange(start, min(stop, len(data)))] = rng.randrange(256)
    path.write_bytes(data)
    try:
        read(path)
    except OrderError as error:
        return error.code
    return "read"
