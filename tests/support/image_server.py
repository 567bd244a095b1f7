"""A real image server in a thread: IIIF, IIP and DeepZoom over one picture.

`Behavior` gives it the quirks of real ones.
"""

import io
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from PIL import Image

from tests.support.slide_server import Answer, Handler, SlideServer
from worker.geometry.frame import Pixels

Box = tuple[int, int, int, int]


def encoded(pixels: Pixels, kind: str = "PNG") -> bytes:
    body = io.BytesIO()
    how: dict[str, Any] = {"compress_level": 1} if kind == "PNG" else {"quality": 95}
    Image.fromarray(pixels).save(body, kind, **how)
    return body.getvalue()


def whole_body(handler: Handler, body: bytes) -> None:
    handler.answer(200, body)


@dataclass
class Behavior:
    """How the server behaves. `cap_px`: no answer is larger on any side; it is made smaller without
    a word.

    `first`: answers to the first pictures, one each, before it behaves. `send`: how a picture's
    bytes go out.
    """

    kind: str = "PNG"
    tile: int = 64
    overlap: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    cap_px: int = 5000
    ignores_regions: bool = False
    """It understands no region and gives the whole picture, as iipsrv does with a malformed RGN."""
    cuts_off: bool = False
    """It turns fractions into pixels without rounding, as old iipsrv does."""
    first: list[Answer] = field(default_factory=list)
    send: Callable[[Handler, bytes], None] = whole_body


class _NoDelayHandler(Handler):
    disable_nagle_algorithm = True


class ImageServer(SlideServer):
    """Serves `pixels` (H, W, 3) at /iiif/slide, /iipsrv.fcgi?FIF=/slide.svs, /slide.dzi and
    iipsrv's forms of these.
    """

    def __init__(self, pixels: Pixels, behavior: Behavior | None = None) -> None:
        super().__init__()
        self.RequestHandlerClass = _NoDelayHandler
        self.pixels, self.behavior = pixels, behavior or Behavior()
        self.boxes: list[Box] = []
        self.answers = defaultdict(lambda: self.serve)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    def serve(self, handler: Handler) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        name = query.get("IIIF") or query.get("DeepZoom") or parts.path
        if "FIF" in query:
            self._iip(handler, query)
        elif name.endswith("info.json"):
            handler.answer(200, json.dumps(self._info()).encode())
        elif name.endswith(".dzi"):
            handler.answer(200, self._dzi())
        elif "_files/" in name:
            self._tile(handler, name)
        else:
            self._region(handler, name)

    def _info(self) -> dict[str, Any]:
        width, height = self.size
        return {
            "@context": "http://iiif.io/api/image/2/context.json",
            "@id": "http://169.254.169.254/iiif/slide",
            "width": width,
            "height": height,
            "profile": ["http://iiif.io/api/image/2/level2.json"],
        } | self.behavior.info

    def _region(self, handler: Handler, name: str) -> None:
        region, size, _, _ = name.split("/")[-4:]
        width, height = self.size
        x, y, wide, high = (
            (0, 0, width, height) if region == "full" else map(int, region.split(","))
        )
        given = (
            [int(edge) if edge else 0 for edge in size.split(",")] if "," in size else [wide, high]
        )
        self._picture(
            handler, (x, y, wide, high), (given[0], given[1] or round(high * given[0] / wide))
        )

    def _iip(self, handler: Handler, query: dict[str, str]) -> None:
        width, height = self.size
        if "CVT" not in query:
            tile = self.behavior.tile
            handler.answer(
                200, f"IIP:1.0\r\nMax-size:{width} {height}\r\nTile-size:{tile} {tile}\r\n".encode()
            )
            return
        fractions = np.array(query["RGN"].split(","), np.float32) * np.array(
            [*self.size, *self.size], np.float32
        )
        x, y, wide, high = (
            int(edge) if self.behavior.cuts_off else round(float(edge)) for edge in fractions
        )
        wide, high = min(wide, width - x), min(high, height - y)
        if self.behavior.ignores_regions:
            x, y, wide, high = 0, 0, width, height
        asked = int(query["WID"])
        self._picture(handler, (x, y, wide, high), (asked, round(asked * high / wide)))

    def _dzi(self) -> bytes:
        width, height = self.size
        kind = {"PNG": "png", "JPEG": "jpg"}[self.behavior.kind]
        behavior = self.behavior
        return (
            '<?xml version="1.0"?><Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
            f'Format="{kind}" Overlap="{behavior.overlap}" TileSize="{behavior.tile}">'
            f'<Size Width="{width}" Height="{height}"/></Image>'
        ).encode()

    def _tile(self, handler: Handler, name: str) -> None:
        level, place = name.rpartition(".")[0].split("/")[-2:]
        assert int(level) == int(np.ceil(np.log2(max(self.size))))
        tile, overlap = self.behavior.tile, self.behavior.overlap
        column, row = map(int, place.split("_"))
        left, top = max(0, column * tile - overlap), max(0, row * tile - overlap)
        right = min(self.size[0], (column + 1) * tile + overlap)
        bottom = min(self.size[1], (row + 1) * tile + overlap)
        self._picture(
            handler, (left, top, right - left, bottom - top), (right - left, bottom - top)
        )

    def _picture(self, handler: Handler, box: Box, size: tuple[int, int]) -> None:
        self.boxes.append(box)
        if self.behavior.first:
            self.behavior.first.pop(0)(handler)
            return
        x, y, width, height = box
        part = self.pixels[y : y + height, x : x + width]
        scale = min(1.0, self.behavior.cap_px / max(size))
        size = round(size[0] * scale), round(size[1] * scale)
        if size != (part.shape[1], part.shape[0]):
            part = np.asarray(Image.fromarray(part).resize(size))
        self.behavior.send(handler, encoded(part, self.behavior.kind))
