"""Draws the strip below an overlay: headline, classes with colour and count, scale bar."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worker.geometry.frame import Pixels
from worker.results.result import Result

INK = "#1c1c1c"
PAPER = "#ffffff"
PLAIN = str.maketrans(
    {"\u00b5": "u", "\u03bc": "u", "\u00b2": "2", "\u00b3": "3", "\u00d7": "x", "\u2013": "-"}
)
"""Pillow's own font lacks these letters and would draw empty boxes."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A word of the headline, or a class with its colour."""

    text: str
    color: str = ""


@dataclass(frozen=True, slots=True)
class _ScaleBar:
    """A length in pixels of the picture, and its label."""

    length_px: float
    label: str


@dataclass(frozen=True, slots=True)
class _Type:
    """The size of the text, from which every distance in the strip follows."""

    size_px: int

    @property
    def font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(self.size_px)

    def advance_px(self, item: _Item) -> float:
        """Return the distance from the start of an item to the start of the next one."""
        space = 0.3
        if item.color:  # the colour patch before it and a wider space after it
            space = 2.6
        return self.font.getlength(item.text) + self.size_px * space


def legend(result: Result, width_px: int, px_per_level0: float) -> Pixels:
    """Return the strip, (H, width_px, 3); text is sized by the width and wrapped to it.

    `px_per_level0` is the picture's pixels per level-0 pixel.
    """
    text = _Type(max(13, min(26, width_px // 60)))
    bar = _scale_bar(result.findings.frame.mpp_x, px_per_level0, width_px)
    text_width_px = width_px - 2.0 * text.size_px
    if bar:
        text_width_px -= bar.length_px + 2 * text.size_px
    rows = _rows(_headline(result), text, text_width_px)
    rows += _rows(_classes(result), text, text_width_px)
    height_px = int(text.size_px * (1.6 * max(2, len(rows)) + 0.8))
    strip = Image.new("RGB", (width_px, height_px), PAPER)
    pen = ImageDraw.Draw(strip)
    for number, row in enumerate(rows):
        _draw_row(pen, row, text, text.size_px * (0.6 + 1.6 * number))
    if bar:
        _draw_bar(pen, bar, text, width_px)
    return np.asarray(strip)


def _headline(result: Result) -> list[_Item]:
    headline = result.findings.headline
    if result.card.ruo:
        headline += " (research use only)"
    return [_Item(word) for word in headline.translate(PLAIN).split()]


def _classes(result: Result) -> list[_Item]:
    counts = result.counts()
    return [
        _Item(f"{entry.name} {counts[entry.name]:,}", entry.color) for entry in result.card.classes
    ]


def _rows(items: Iterable[_Item], text: _Type, width_px: float) -> list[list[_Item]]:
    """Return the items, wrapped to rows of this width; a wider item has a row of its own."""
    rows: list[list[_Item]] = []
    free_px = 0.0
    for item in items:
        item_px = text.advance_px(item)
        if item_px > free_px:
            rows.append([])
            free_px = width_px
        rows[-1].append(item)
        free_px -= item_px
    return rows


def _draw_row(pen: ImageDraw.ImageDraw, row: list[_Item], text: _Type, y: float) -> None:
    x = float(text.size_px)
    for item in row:
        indent = 0.0
        if item.color:
            indent = text.size_px * 1.3
            top = y + 0.15 * text.size_px
            bottom = y + 1.15 * text.size_px
            pen.rounded_rectangle((x, top, x + text.size_px, bottom), 3, item.color)
        pen.text((x + indent, y), item.text, INK, text.font)
        x += text.advance_px(item)


def _scale_bar(mpp: float | None, px_per_level0: float, width_px: int) -> _ScaleBar | None:
    """Return a bar of 1, 2 or 5 times a power of ten microns, at most a fifth of the width.

    Return None where the size of a pixel is not known.
    """
    if mpp is None:
        return None
    um_per_px = mpp / px_per_level0
    longest_um = um_per_px * width_px / 5
    decade = 10.0 ** math.floor(math.log10(longest_um))
    length_um = max(step * decade for step in (1, 2, 5) if step * decade <= longest_um)
    label = f"{length_um:g} um"
    if length_um >= 1000:
        label = f"{length_um / 1000:g} mm"
    return _ScaleBar(length_um / um_per_px, label)


def _draw_bar(pen: ImageDraw.ImageDraw, bar: _ScaleBar, text: _Type, width_px: int) -> None:
    right = width_px - text.size_px
    left = right - bar.length_px
    y = text.size_px * 2.5
    thickness_px = max(3, text.size_px // 6)
    pen.rectangle((left, y, right, y + thickness_px), INK)
    middle = right - bar.length_px / 2
    pen.text((middle, y - 0.3 * text.size_px), bar.label, INK, text.font, anchor="ms")
