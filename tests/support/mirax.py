"""A tiny MIRAX slide: an .mrxs file, and beside it a folder with two indices and the tiles.

The format: https://openslide.org/formats/mirax/. Only some positions of the canvas have tiles, so
that the image begins at (2 * TILE_PX, TILE_PX).
"""

import io
import struct
from pathlib import Path

from PIL import Image

from worker.geometry.frame import Pixels

TILE_PX = 32
ACROSS, DOWN = 6, 4
_ID = "0123456789abcdef0123456789abcdef"
_INI = f"""[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {_ID}
IMAGENUMBER_X = {ACROSS}
IMAGENUMBER_Y = {DOWN}
OBJECTIVE_MAGNIFICATION = 20
CameraImageDivisionsPerSide = 1
[HIERARCHICAL]
HIER_COUNT = 1
NONHIER_COUNT = 0
INDEXFILE = Index.dat
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 2
HIER_0_VAL_0_SECTION = LEVEL_0
HIER_0_VAL_1_SECTION = LEVEL_1
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat
"""
_LEVEL = f"""[LEVEL_%d]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = %s
MICROMETER_PER_PIXEL_Y = %s
IMAGE_FORMAT = PNG
IMAGE_FILL_COLOR_BGR = 16777215
DIGITIZER_WIDTH = {TILE_PX}
DIGITIZER_HEIGHT = {TILE_PX}
IMAGE_CONCAT_FACTOR = %d
"""


def a_mirax(
    folder: Path, pixels: Pixels, name: str = "slide", column: int = 2, row: int = 1
) -> Path:
    """Write a slide of ACROSS by DOWN tiles that shows `pixels` from tile (column, row) on.

    Return the path of its .mrxs file.
    """
    files = folder / name
    files.mkdir(parents=True)
    shown = Image.fromarray(pixels)
    canvas = Image.new("RGB", (ACROSS * TILE_PX // 2, DOWN * TILE_PX // 2))
    half = shown.resize((shown.width // 2, shown.height // 2), Image.Resampling.BOX)
    canvas.paste(half, (column * TILE_PX // 2, row * TILE_PX // 2))
    data, levels = _packed([_tiles(shown, column, row, step=1), _tiles(canvas, 0, 0, step=2)])
    (files / "Data0000.dat").write_bytes(data)
    (files / "Index.dat").write_bytes(_index(levels))
    (files / "Slidedat.ini").write_text(_INI + _LEVEL % (0, 0.5, 0.25, 0) + _LEVEL % (1, 1, 0.5, 1))
    main = folder / f"{name}.mrxs"
    Image.new("RGB", (8, 8)).save(main, "JPEG")
    return main


def _tiles(picture: Image.Image, column: int, row: int, step: int) -> dict[int, bytes]:
    """Return the image as PNG tiles, by the number of the position of their first camera image."""
    tiles = {}
    for y in range(0, picture.height, TILE_PX):
        for x in range(0, picture.width, TILE_PX):
            file = io.BytesIO()
            picture.crop((x, y, x + TILE_PX, y + TILE_PX)).save(file, "PNG")
            number = (row + step * y // TILE_PX) * ACROSS + column + step * x // TILE_PX
            tiles[number] = file.getvalue()
    return tiles


def _packed(levels: list[dict[int, bytes]]) -> tuple[bytes, list[list[bytes]]]:
    """Return all tiles joined, and the records of each level: number, offset, length, data file."""
    data, indices = b"", []
    for tiles in levels:
        records = []
        for number, tile in tiles.items():
            records.append(struct.pack("<4i", number, len(data), len(tile), 0))
            data += tile
        indices.append(records)
    return data, indices


def _index(levels: list[list[bytes]]) -> bytes:
    """Return the index: version, slide ID, roots, and for each level a pointer and two pages."""
    roots = len(b"01.02") + len(_ID)
    table = roots + 8
    pages, place = b"", table + 4 * len(levels)
    pointers = []
    for records in levels:
        pointers.append(place + len(pages))
        pages += (
            struct.pack("<2i", 0, pointers[-1] + 8)
            + struct.pack("<2i", len(records), 0)
            + b"".join(records)
        )
    return (
        b"01.02"
        + _ID.encode()
        + struct.pack("<2i", table, 0)
        + struct.pack(f"<{len(levels)}i", *pointers)
        + pages
    )
