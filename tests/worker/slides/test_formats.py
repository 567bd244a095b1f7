"""docs/formats.md tells the truth: every format is brought near in every way, and its pixels are looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from broker.errors import OrderError
from tests.support.format_files import FORMATS, Format, picture
from tests.support.format_table import COMMAND, PAGE, SERVERS, Rows, between, table
from worker.slides.slide import Slide


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows()


def stands_there(row: Sequence[str]) -> bool:
    """Whether the page has exactly this row."""
    return table(row, []).splitlines()[0] in PAGE.read_text().splitlines()


@pytest.mark.parametrize("tried", FORMATS, ids=lambda tried: tried.name)
def test_a_format_works_as_the_page_says(rows: Rows, tried: Format) -> None:
    """From every source the picture comes with the pixels that were written, in part or whole, or with that error."""
    row = rows.of_format(tried)
    assert stands_there(row), f"`{COMMAND}` writes the row: {row}"


@pytest.mark.parametrize("name", SERVERS)
def test_an_image_server_works_as_the_page_says(rows: Rows, name: str) -> None:
    """Every form of region comes with the server's very pixels, and with the microns of the one who is named."""
    row = rows.of_server(name)
    assert stands_there(row), f"`{COMMAND}` writes the row: {row}"


def test_the_tables_are_those_that_were_found_out(rows: Rows) -> None:
    """Between their marks stand these rows in this order and nothing else."""
    page = PAGE.read_text()
    for name, text in rows.tables().items():
        assert between(name).findall(page) == [text], f"`{COMMAND}` writes the page"


@pytest.mark.parametrize("axis", [0, 1])
def test_a_wrong_place_would_show(axis: int) -> None:
    """A shift by one pixel is further off than any lossy format may be."""
    pixels = picture().astype(int)
    assert np.abs(pixels - np.roll(pixels, 1, axis)).mean() > 2 * max(
        tried.off for tried in FORMATS
    )


def test_an_ome_tiff_is_read_by_its_own_words(tmp_path: Path) -> None:
    """OpenSlide takes it for any tiled TIFF, and would know neither its microns nor the levels in its SubIFDs."""
    pixels, path = picture(), tmp_path / "a.ome.tif"
    said: dict[str, Any] = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(pixels, tile=(64, 64), photometric="rgb", metadata=said, subifds=1)
        tiff.write(pixels[::2, ::2], tile=(64, 64), photometric="rgb", subfiletype=1)
    with Slide.open(path) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_y, slide.frame.mpp_source) == (
            0.5,
            0.25,
            "slide",
        )
        assert len(slide._pyramid.level_dimensions) == 2


@pytest.mark.parametrize("what", [{"ome": True, "metadata": {"axes": "ZYXS"}}, {"metadata": None}])
def test_a_tiled_stack_is_refused(tmp_path: Path, what: dict[str, Any]) -> None:
    """Nobody said which of its planes is meant, so the first one is not shown either."""
    planes = np.stack([picture(), picture()[::-1]])
    tifffile.imwrite(tmp_path / "a.tif", planes, tile=(64, 64), photometric="rgb", **what)
    with pytest.raises(OrderError, match="holds 2 pictures"):
        Slide.open(tmp_path / "a.tif")
