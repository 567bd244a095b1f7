"""Draws the strip below an overlay: headline, classes with colour and count, scale bar."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from broker.orders.order import ScanWarning
from worker.geometry.frame import Pixels
from worker.results.overlay.density import DensityMap
from worker.results.overlay.index_map import IndexMap, scale_colors
from worker.results.overlay.tile_colors import TileColors
from worker.results.overlay.tile_colors import scale_colors as tile_scale
from worker.results.result import Result

INK = "#1c1c1c"
PAPER = "#ffffff"
ALARM = "#ffd24d"
FONT = Path(__file__).with_name("DejaVuSans-subset.ttf")
"""Pillow's own font lacks letters such as \u00b5, and would draw empty boxes."""


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


@dataclass(frozen=True)
class Type:
    """The size of the text, from which every distance in the strip follows."""

    size_px: int

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        """The font in this size."""
        return _font(self.size_px)

    def advance_px(self, item: _Item) -> float:
        """Return the distance from the start of an item to the start of the next one."""
        space = 0.3
        if item.color:  # the colour patch before it and a wider space after it
            space = 2.6
        return _length_px(item.text, self.size_px) + self.size_px * space


def banner(warnings: Sequence[ScanWarning], width_px: int) -> Pixels:
    """Return a strip that states the warnings, (H, width_px, 3); H is 0 where there are none."""
    text = _type(width_px)
    rows: list[list[_Item]] = []
    for warning in warnings:
        words = f"Warning: {warning.detail} ({warning.code})".split()
        rows += _rows([_Item(word) for word in words], text, width_px - 2.0 * text.size_px)
    if not rows:
        return np.empty((0, width_px, 3), np.uint8)
    height_px = int(text.size_px * (1.6 * len(rows) + 0.8))
    strip = Image.new("RGB", (width_px, height_px), ALARM)
    pen = ImageDraw.Draw(strip)
    for number, row in enumerate(rows):
        _draw_row(pen, row, text, text.size_px * (0.6 + 1.6 * number))
    return np.asarray(strip)


def legend(
    result: Result,
    width_px: int,
    px_per_level0: float,
    shown: IndexMap | DensityMap | None = None,
    colored: TileColors | None = None,
) -> Pixels:
    """Return the strip, (H, width_px, 3); text is sized by the width and wrapped to it.

    `px_per_level0` is the picture's pixels per level-0 pixel. `shown` is the map that stands in
    place of objects in their classes' colours, `colored` what the colours of tiles mean.
    """
    text = _type(width_px)
    bar = _scale_bar(result.findings.frame.mpp_x, px_per_level0, width_px)
    text_width_px = width_px - 2.0 * text.size_px
    if bar:
        text_width_px -= bar.length_px + 2 * text.size_px
    rows = _rows(_headline(result), text, text_width_px)
    rows += _rows(_classes(result, shown), text, text_width_px)
    rows += _rows(_explanation(shown, colored), text, text_width_px)
    scale_row = len(rows)
    if shown or (colored and colored.ends):
        rows.append([])
    strip = _strip(tuple(map(tuple, rows)), bar, width_px)
    if shown is None and colored is None:
        return strip
    image = Image.fromarray(strip)
    scale_y = text.size_px * (0.6 + 1.6 * scale_row)
    if shown:
        _draw_scale(ImageDraw.Draw(image), shown, text, scale_y)
    elif colored:
        _draw_ends(ImageDraw.Draw(image), colored, text, scale_y)
    return np.asarray(image)


@lru_cache(maxsize=8)
def _strip(rows: tuple[tuple[_Item, ...], ...], bar: _ScaleBar | None, width_px: int) -> Pixels:
    """Return the strip with these rows and the scale bar.

    The last strips are remembered: small orders of one kind have the same, and to draw one takes
    4 ms, as long as the rest of such an overlay.
    """
    text = _type(width_px)
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
    return [_Item(word) for word in headline.split()]


def _classes(result: Result, shown: IndexMap | DensityMap | None) -> list[_Item]:
    """Return the classes with their counts; a map does not show their colours.

    Classes of a mask have the share of each in the area of all.
    """
    if result.card.output == "mask":
        return _shares(result)
    counts = result.counts()
    items = []
    for entry in result.card.object_classes:
        if result.card.output == "report" and not counts[entry.name]:
            continue  # a report may draw nothing, and says something all the same
        count = f"{entry.name} {counts[entry.name]:,}"
        if shown:
            items.append(_Item(f"{count}  "))
        else:
            items.append(_Item(count, entry.color))
    return items


def _shares(result: Result) -> list[_Item]:
    """Return the classes of a mask, each with its share of the area of all classes."""
    shares = result.findings.summary.get("share_by_class", {})
    items = []
    for entry in result.card.classes:
        if entry.background:
            continue
        words = entry.label
        if shares.get(entry.name) is not None:
            words += f" {100 * shares[entry.name]:.1f} %"
        items.append(_Item(words, entry.color))
    return items


def _explanation(shown: IndexMap | DensityMap | None, colored: TileColors | None) -> list[_Item]:
    """Return what is drawn in place of objects in the colours of their classes."""
    if shown:
        return [_Item(word) for word in shown.hotspot_words]
    if colored:
        return [_Item(word) for word in colored.meaning.split()]
    return []


def _draw_scale(
    pen: ImageDraw.ImageDraw, shown: IndexMap | DensityMap, text: Type, y: float
) -> None:
    """Draw the colours of the map from 0 to the end of its scale, with words beside them."""
    start, end = shown.scale_words
    x = float(text.size_px)
    pen.text((x, y), start, INK, text.font)
    x += text.font.getlength(f"{start} ")
    length_px = 10 * text.size_px
    colors = scale_colors(np.linspace(0, 1, length_px)[None])[0].astype(int).tolist()
    for step, color in enumerate(colors):
        pen.line((x + step, y + 1, x + step, y + 1.15 * text.size_px), tuple(color))
    pen.text((x + length_px, y), f" {end}", INK, text.font)


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return the font in this size, of which there are a dozen; to read the file takes a while."""
    return ImageFont.truetype(FONT, size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=256)
def _length_px(word: str, size_px: int) -> float:
    """Return the length of a word in a font size. Most words are the same in all legends."""
    return _font(size_px).getlength(word)


def _draw_ends(pen: ImageDraw.ImageDraw, colored: TileColors, text: Type, y: float) -> None:
    """Draw the scale of the tiles' colours, where they have one, with its ends in words."""
    if not colored.ends:
        return
    x = float(text.size_px)
    pen.text((x, y), colored.ends[0], INK, text.font)
    x += text.font.getlength(f"{colored.ends[0]} ")
    length_px = 10 * text.size_px
    for step, color in enumerate(tile_scale(np.linspace(0, 1, length_px)).tolist()):
        pen.line((x + step, y + 1, x + step, y + 1.15 * text.size_px), tuple(color))
    pen.text((x + length_px, y), f" {colored.ends[1]}", INK, text.font)


def _type(width_px: int) -> Type:
    """Return the size of the text for a strip of this width."""
    return Type(max(13, min(26, width_px // 60)))


def _rows(items: Iterable[_Item], text: Type, width_px: float) -> list[list[_Item]]:
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


def _draw_row(pen: ImageDraw.ImageDraw, row: Sequence[_Item], text: Type, y: float) -> None:
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
    label = f"{length_um:g} \u00b5m"
    if length_um >= 1000:
        label = f"{length_um / 1000:g} mm"
    return _ScaleBar(length_um / um_per_px, label)


def _draw_bar(pen: ImageDraw.ImageDraw, bar: _ScaleBar, text: Type, width_px: int) -> None:
    right = width_px - text.size_px
    left = right - bar.length_px
    y = text.size_px * 2.5
    thickness_px = max(3, text.size_px // 6)
    pen.rectangle((left, y, right, y + thickness_px), INK)
    middle = right - bar.length_px / 2
    pen.text((middle, y - 0.3 * text.size_px), bar.label, INK, text.font, anchor="ms")
