"""The strip below an overlay: headline, classes with colour and count, a scale bar. It knows nothing of the picture."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worker.geometry.frame import Pixels
from worker.results.result import Result

INK, PAPER = "#1c1c1c", "#ffffff"
PLAIN = str.maketrans(
    {"\u00b5": "u", "\u03bc": "u", "\u00b2": "2", "\u00b3": "3", "\u00d7": "x", "\u2013": "-"}
)
"""Pillow's own font has no such letters and would draw empty boxes."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word of the headline, or a class with its colour."""

    text: str
    color: str = ""


@dataclass(frozen=True, slots=True)
class _Type:
    """The size that everything in the strip is measured by."""

    size_px: int

    @property
    def font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(self.size_px)

    def advance_px(self, piece: _Piece) -> float:
        """From the start of a piece to the start of the next: a class has a patch before it and more air behind."""
        return self.font.getlength(piece.text) + self.size_px * (2.6 if piece.color else 0.3)


def legend(result: Result, width_px: int, px_per_level0: float) -> Pixels:
    """The strip, (H, width_px, 3); text is sized by the width and wrapped to it."""
    kind = _Type(max(13, min(26, width_px // 60)))
    bar = _scale_bar(result.findings.frame.mpp_x, px_per_level0, width_px)
    room_px = width_px - 2 * kind.size_px - (bar[0] + 2 * kind.size_px if bar else 0)
    rows = [*_rows(_headline(result), kind, room_px), *_rows(_classes(result), kind, room_px)]
    strip = Image.new("RGB", (width_px, int(kind.size_px * (1.6 * max(2, len(rows)) + 0.8))), PAPER)
    pen = ImageDraw.Draw(strip)
    for number, row in enumerate(rows):
        _draw_row(pen, row, kind, kind.size_px * (0.6 + 1.6 * number))
    if bar:
        _draw_bar(pen, bar, kind, width_px)
    return np.asarray(strip)


def _headline(result: Result) -> list[_Piece]:
    notice = " (research use only)" if result.card.ruo else ""
    return [_Piece(word) for word in (result.findings.headline + notice).translate(PLAIN).split()]


def _classes(result: Result) -> list[_Piece]:
    colors = [entry.color for entry in result.card.classes]
    counts = result.counts().items()
    return [
        _Piece(f"{name} {count:,}", color)
        for color, (name, count) in zip(colors, counts, strict=True)
    ]


def _rows(pieces: Iterable[_Piece], kind: _Type, room_px: float) -> list[list[_Piece]]:
    rows: list[list[_Piece]] = []
    left_px = 0.0
    for piece in pieces:
        wanted_px = kind.advance_px(piece)
        if wanted_px > left_px:
            rows.append([])
            left_px = room_px
        rows[-1].append(piece)
        left_px -= wanted_px
    return rows


def _draw_row(pen: ImageDraw.ImageDraw, row: list[_Piece], kind: _Type, y: float) -> None:
    x = float(kind.size_px)
    for piece in row:
        indent = 0.0
        if piece.color:
            indent = kind.size_px * 1.3
            pen.rounded_rectangle(
                (x, y + 0.15 * kind.size_px, x + kind.size_px, y + 1.15 * kind.size_px),
                3,
                piece.color,
            )
        pen.text((x + indent, y), piece.text, INK, kind.font)
        x += kind.advance_px(piece)


def _scale_bar(mpp: float | None, px_per_level0: float, width_px: int) -> tuple[float, str] | None:
    """Length in picture pixels, at most a fifth of the width, and its label; none where the pixel size is not known."""
    if mpp is None:
        return None
    um_per_px = mpp / px_per_level0
    longest_um = um_per_px * width_px / 5
    decade = 10.0 ** math.floor(math.log10(longest_um))
    um = max(step * decade for step in (1, 2, 5) if step * decade <= longest_um)
    return um / um_per_px, f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} um"


def _draw_bar(pen: ImageDraw.ImageDraw, bar: tuple[float, str], kind: _Type, width_px: int) -> None:
    length_px, label = bar
    right, y = width_px - kind.size_px, kind.size_px * 2.5
    thickness_px = max(3, kind.size_px // 6)
    pen.rectangle((right - length_px, y, right, y + thickness_px), INK)
    pen.text((right - length_px / 2, y - 0.3 * kind.size_px), label, INK, kind.font, anchor="ms")
