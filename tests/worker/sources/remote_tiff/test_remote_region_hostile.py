"""Directories of TIFFs that lie, lead nowhere or never end, on a server that
gives ranges of them.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.errors import OrderError
from tests.support.remote_regions import RegionFetcher, noise_slide
from worker.slides.slide import Slide

Harm = Callable[[bytearray, int], object]
WIDTH, TILE_WIDTH, OFFSETS, COUNTS, SUB_IFDS = 256, 322, 324, 325, 330


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[RegionFetcher]:
    with RegionFetcher.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_slide(tmp_path_factory.mktemp("slides"), "generic")


def entry(content: bytearray, code: int) -> int:
    """Where the first IFD of a little-endian classic TIFF keeps a tag."""
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    return next(
        e
        for e in range(at + 2, at + 2 + 12 * count, 12)
        if struct.unpack_from("<H", content, e)[0] == code
    )


def values(content: bytearray, code: int) -> int:
    """Where the values of that tag lie."""
    return int(struct.unpack_from("<I", content, entry(content, code) + 8)[0])


def next_ifd(content: bytearray) -> int:
    """Where the first IFD says where the second is."""
    (at,) = struct.unpack_from("<I", content, 4)
    return at + 2 + 12 * struct.unpack_from("<H", content, at)[0]


@pytest.mark.parametrize(
    "harm",
    [
        lambda tiff, end: struct.pack_into("<I", tiff, 4, end - 3),
        lambda tiff, end: struct.pack_into("<H", tiff, struct.unpack_from("<I", tiff, 4)[0], 65535),
        lambda tiff, end: struct.pack_into("<I", tiff, next_ifd(tiff), struct.unpack_from("<I", tiff, 4)[0]),
        lambda tiff, end: struct.pack_into("<I", tiff, next_ifd(tiff), end + 100),
        lambda tiff, end: struct.pack_into("<I", tiff, entry(tiff, OFFSETS) + 4, 2**32 - 1),
        lambda tiff, end: struct.pack_into("<I", tiff, entry(tiff, OFFSETS) + 8, end - 8),
        lambda tiff, end: struct.pack_into("<I", tiff, entry(tiff, COUNTS) + 4, 3),
        lambda tiff, end: struct.pack_into("<I", tiff, entry(tiff, WIDTH) + 8, 2**31),
        lambda tiff, end: struct.pack_into("<I", tiff, entry(tiff, TILE_WIDTH) + 8, 0),
        lambda tiff, end: struct.pack_into("<HHII", tiff, entry(tiff, COUNTS), 284, 3, 1, 2),
        lambda tiff, end: struct.pack_into("<I", tiff, values(tiff, OFFSETS), end),
        lambda tiff, end: struct.pack_into("<HHII", tiff, entry(tiff, WIDTH), SUB_IFDS, 4, 10**6, 8),
        lambda tiff, end: tiff.__delitem__(slice(end // 2, None)),
        lambda tiff, end: tiff.__setitem__(slice(0, 8), b"II+\0\x09\0\0\0"),
    ],
    ids=[
        "directory at the end", "65535 tags", "a circle", "next beyond the end", "4 billion values", "values cut off",
        "too few lengths", "2 billion wide", "no tile width", "no lengths", "a tile beyond the end", "a million",
        "cut in half", "a broken BigTIFF",
    ],
)  # fmt: skip
def test_a_hostile_directory_is_left_to_the_download(
    fetcher: RegionFetcher, slide: Path, harm: Harm
) -> None:
    """Whatever the directory claims, a few requests end in no copy."""
    tiff = bytearray(slide.read_bytes())
    harm(tiff, len(tiff))
    assert fetcher.fetch(fetcher.serve(bytes(tiff))) is None
    assert len(fetcher.served.asked) <= 8


def test_endless_directories_end_at_256(fetcher: RegionFetcher, slide: Path) -> None:
    """A chain of thousands of directories is followed for a while, block by block, and then left to
    the download.
    """
    tiff = bytearray(slide.read_bytes())
    at = first = len(tiff)
    for _ in range(5000):
        at += 6
        tiff += struct.pack("<HI", 0, at)
    struct.pack_into("<I", tiff, next_ifd(tiff), first)
    assert fetcher.fetch(fetcher.serve(bytes(tiff))) is None
    assert len(fetcher.served.asked) <= 8


def test_a_tile_that_cannot_be_decoded_is_told_when_it_is_read(
    fetcher: RegionFetcher, slide: Path
) -> None:
    """Damage within the region is in the copy as it is in the whole file: the fetch does not look
    at pixels.
    """
    tiff = bytearray(slide.read_bytes())
    middle = values(tiff, OFFSETS) + 4 * (5 * 16 + 7)  # the tile at (896, 640) of 16 in a row
    (start,) = struct.unpack_from("<I", tiff, middle)
    tiff[start : start + 1000] = bytes(1000)
    copy = fetcher.fetch(fetcher.serve(bytes(tiff)))
    assert copy
    with Slide.open(copy.path) as part, pytest.raises(OrderError) as caught:
        part.read(896, 640, 64, 60, 1, 1)
    assert caught.value.code == "slide_unreadable"
