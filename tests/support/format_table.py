"""The tables of docs/formats.md: every slide is fetched from every source and its pixels compared.

`python -m tests.support.format_table --write`, from the repository root, writes them into the page.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from broker.errors import SlidelaneError
from tests.support.format_checks import FetchedSlide, SlideLab
from tests.support.format_files import FORMATS, Format
from tests.support.image_server import Behavior, ImageServer
from tests.support.image_server_fetch import FORMS
from tests.support.multi_file_slides import zipped
from tests.support.paths import ROOT
from tests.support.slides import a_picture
from worker.geometry.frame import Area
from worker.slides.partial import manifest
from worker.slides.sandbox.client import Sandbox

PAGE: Final = ROOT / "docs" / "formats.md"
COMMAND: Final = "python -m tests.support.format_table --write"
FORMAT_HEAD: Final = (
    "format",
    "`path`",
    "`url`",
    "region of `url`",
    "`urls`",
    "`zip_url`",
    "reader",
)
SERVER_HEAD: Final = (
    "image server",
    "region",
    "whole",
    "polygon",
    "percent",
    "`mpp_source`",
    "reader",
)
SERVERS: Final = {"IIIF 2": "iiif", "IIIF 3": "iiif", "IIP": "iip", "DeepZoom": "deepzoom"}
_IIIF_3: Final = {
    "@context": "http://iiif.io/api/image/3/context.json",
    "type": "ImageService3",
    "profile": "level2",
}
_PHYSICAL: Final = {
    "service": {
        "profile": "http://iiif.io/api/annex/services/physdim",
        "physicalScale": 0.00025,
        "physicalUnits": "mm",
    }
}
_BOX: Final = (200, 150, 120, 90)
_SIZE: Final = (400, 400)
_ROIS: Final[dict[str, dict[str, Any] | None]] = {
    "region": dict(zip(("x", "y", "width", "height"), _BOX, strict=True)),
    "whole": None,
    "polygon": {"polygon": [(200.5, 150), (320, 180.25), (210, 240)]},  # in the same box
    "percent": {"pct": (50, 37.5, 30, 22.5)},  # the same box
}
_NONE: Final = "–"
Row = tuple[str, ...]


class FormatTrial:
    """One format from every source. Fails for wrong pixels; an error's code is a result."""

    def __init__(self, lab: SlideLab, slide_format: Format) -> None:
        self._lab, self._format = lab, slide_format
        folder = lab.folder / "made"
        self._main, self._pixels = slide_format.made(folder)
        self._files = {
            str(path.relative_to(folder)): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._readers: dict[str, None] = {}

    def row(self) -> Row:
        """Return the cells of its row."""
        cells = self._path(), self._url(), self._region(), self._urls(), self._zip()
        return self._format.name, *cells, " or ".join(self._readers) or _NONE

    def _path(self) -> str:
        return self._shown({"type": "path", "path": str(self._main)})

    def _url(self) -> str:
        if self._format.is_series:
            return _NONE
        return self._shown({"type": "url", "url": self._lab.serve(self._main, "url")[0]})

    def _region(self) -> str:
        if self._format.is_series:
            return _NONE
        url, served = self._lab.serve(self._main, "region")
        cell = self._shown({"type": "url", "url": url}, _BOX)
        if cell == "part":
            assert served.sent_bytes < len(served.content) / 4, "more than the tiles it needs came"
        return cell

    def _urls(self) -> str:
        if not self._format.is_dicom:
            return _NONE
        urls = [self._lab.serve(path, "urls")[0] for path in self._files.values()]
        return self._shown({"type": "url", "urls": urls})

    def _zip(self) -> str:
        content = zipped({name: path.read_bytes() for name, path in self._files.items()}, 0)
        return self._shown(
            {"type": "url", "zip_url": self._lab.serve(self._main, "zip", content)[0]}
        )

    def _shown(self, source: dict[str, Any], part: tuple[int, int, int, int] | None = None) -> str:
        """Return `yes` for the right pixels, for a region `part` or `whole`; else a code."""
        left, top = self._format.corner
        x, y, width, height = part or (0, 0, *self._format.size)
        box = Area(left + x, top + y, width, height)
        try:
            fetched = self._lab.fetch(source, box, box.as_dict() if part else None)
        except SlidelaneError as error:
            return f"`{error.code}`"
        off = np.abs(
            fetched.pixels.astype(int) - self._pixels[y : y + height, x : x + width]
        ).mean()
        assert off <= self._format.off, (
            f"{self._format.name} from {source}: off by {off:.2f} grey values"
        )
        self._readers[fetched.reader.removesuffix(", from ranges of the file")] = None
        is_part = fetched.copy.path.name == manifest.NAME
        return ("part" if is_part else "whole") if part else "yes"


@dataclass
class Rows:
    """The rows of both tables, each measured once, in a folder of its own."""

    sandbox: Sandbox = field(default_factory=lambda: Sandbox(threads=1))
    _found: dict[str, Row] = field(default_factory=dict)

    def of_format(self, slide_format: Format) -> Row:
        """Return the row of a format."""
        return self._once(slide_format.name, lambda lab: FormatTrial(lab, slide_format).row())

    def of_server(self, name: str) -> Row:
        """Return the row of a kind of image server."""
        return self._once(name, lambda lab: _server_row(lab, name))

    def tables(self) -> dict[str, str]:
        """Return both tables by the name of their marks."""
        formats = table(FORMAT_HEAD, [self.of_format(slide_format) for slide_format in FORMATS])
        return {
            "formats": formats,
            "servers": table(SERVER_HEAD, [self.of_server(name) for name in SERVERS]),
        }

    def _once(self, name: str, measure: Callable[[SlideLab], Row]) -> Row:
        if name not in self._found:
            with (
                tempfile.TemporaryDirectory() as folder,
                SlideLab.open(Path(folder), self.sandbox) as lab,
            ):
                self._found[name] = measure(lab)
        return self._found[name]


def _server_row(lab: SlideLab, name: str) -> Row:
    info = _IIIF_3 if name == "IIIF 3" else {}
    with ImageServer(a_picture(*_SIZE), Behavior(info=info | _PHYSICAL)) as server:
        fetched = [_served(lab, name, server, form) for form in _ROIS]
    with ImageServer(a_picture(*_SIZE), Behavior(info=info)) as server:
        fetched.append(_served(lab, name, server, "region"))
    sources = dict.fromkeys(f"`{each.frame.mpp_source}`" for each in fetched)
    (reader,) = {each.reader for each in fetched}
    return name, *("yes" for _ in _ROIS), ", else ".join(sources), reader


def _served(lab: SlideLab, name: str, server: ImageServer, form: str) -> FetchedSlide:
    """Return a region, or the whole. Fail unless it equals the server's image."""
    x, y, width, height = _BOX if _ROIS[form] else (0, 0, *_SIZE)
    source = {
        "type": "image_server",
        "url": server.url(FORMS[SERVERS[name]]),
        "protocol": SERVERS[name],
    }
    fetched = lab.fetch(source, Area(x, y, width, height), _ROIS[form])
    assert np.array_equal(fetched.pixels, server.pixels[y : y + height, x : x + width]), (
        f"{name}, {form}"
    )
    return fetched


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def between(name: str) -> re.Pattern[str]:
    """Return a pattern that matches a table of the page."""
    return re.compile(
        rf"(?<=<!-- {name}: made by tests/support/format_table.py -->\n).*?(?=<!-- end -->)",
        re.DOTALL,
    )


def write() -> None:
    """Write the tables into the page."""
    page = PAGE.read_text()
    for name, text in Rows().tables().items():
        page = between(name).sub(text, page, count=1)
    PAGE.write_text(page)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {COMMAND}")
    write()
