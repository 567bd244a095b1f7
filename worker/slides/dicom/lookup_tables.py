"""Lookup tables from stored values to red, green and blue.

Follows the pipeline of PS3.3 C.11 (rescaling, window or VOI LUT, inversion) and palettes. Knows no
codecs.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_windowing

from worker.geometry.frame import Floats, Ints, Pixels
from worker.slides.dicom.header import LOOKUP_TABLE_KEYWORDS, PixelFormat, functional_group
from worker.slides.errors import UnreadableDicomError

_MAX_BITS_WITHOUT_WINDOW: Final = 8  # such values are shown as they are if there is no window
_MAX_PALETTE_ENTRIES: Final = 2**16  # which the descriptor states as 0; PS3.3 C.7.6.3.1.5
_Voi = Literal["table", "window", "none"]


def has_lookup_table(data_set: Dataset, pixel_format: PixelFormat) -> bool:
    """Return whether the file states how its grey values are shown.

    If not, that depends on the values that occur in its pixels.
    """
    return (
        pixel_format.photometric == "PALETTE COLOR"
        or pixel_format.bits_stored <= _MAX_BITS_WITHOUT_WINDOW
        or _voi(_elements(data_set)) != "none"
    )


def lookup_table(
    data_set: Dataset, pixel_format: PixelFormat, present: NDArray[np.bool_] | None = None
) -> Pixels:
    """Return the color of each stored value's bits, (2 ** bits_stored, 3).

    Where the file does not state how grey values are shown, they are scaled from the smallest to
    the largest value that is `present`, (2 ** bits_stored,), or that is possible.
    """
    elements = _elements(data_set)
    values = np.arange(2**pixel_format.bits_stored, dtype=np.int64)
    if pixel_format.is_signed:
        values[len(values) // 2 :] -= len(values)
    if pixel_format.photometric == "PALETTE COLOR":
        return _palette_colors(elements, values)
    shown, black, white = _shown_values(elements, values, present)
    grey = np.clip((shown - black) / ((white - black) or 1), 0, 1)
    if pixel_format.photometric == "MONOCHROME1":
        grey = 1 - grey
    return np.repeat(np.rint(grey * 255).astype(np.uint8)[:, None], 3, axis=1)


def eight_bit_table(bits_stored: int) -> Pixels:
    """Return a table that scales color samples to 8 bits, (2 ** bits_stored,)."""
    return np.rint(np.linspace(0, 255, 2**bits_stored)).astype(np.uint8)


def _elements(data_set: Dataset) -> Dataset:
    """Return the lookup table elements that have a value, those of functional groups first."""
    chosen = Dataset()
    chosen.set_original_encoding(*data_set.original_encoding)
    sources = (
        data_set,
        functional_group(data_set, "PixelValueTransformationSequence"),
        functional_group(data_set, "FrameVOILUTSequence"),
    )
    for source in sources:
        for keyword in LOOKUP_TABLE_KEYWORDS:
            if keyword in source and source.get(keyword) not in (None, ""):
                chosen.add(source[keyword])
    return chosen


def _voi(elements: Dataset) -> _Voi:
    """Return how the file selects its values of interest."""
    if elements.get("VOILUTSequence"):
        return "table"
    if "WindowCenter" in elements and "WindowWidth" in elements:
        return "window"
    return "none"


def _shown_values(
    elements: Dataset, values: Ints, present: NDArray[np.bool_] | None
) -> tuple[Floats, float, float]:
    """Return the values after all lookups, and which of them are black and white."""
    rescaled = apply_modality_lut(values, elements)
    voi = _voi(elements)
    if voi == "table":
        return _apply_voi_table(elements, rescaled)
    if voi == "window":
        # The ends of a window are what it maps values far beyond it to.
        black, white = apply_windowing(np.array([-np.inf, np.inf]), elements)
        return apply_windowing(rescaled, elements), float(black), float(white)
    occurring = rescaled
    if present is not None:
        occurring = rescaled[present]
    return rescaled.astype(np.float64), float(occurring.min()), float(occurring.max())


def _apply_voi_table(elements: Dataset, rescaled: Ints | Floats) -> tuple[Floats, float, float]:
    """Return the values, black and white by the VOI LUT.

    pydicom's own lookup takes the bits of an entry for those of the number of entries.
    """
    item = elements.VOILUTSequence[0]
    data = item.LUTData
    if isinstance(data, bytes):
        _, is_little_endian = elements.original_encoding
        if is_little_endian:
            data = np.frombuffer(data, "<u2")
        else:
            data = np.frombuffer(data, ">u2")
    table = np.asarray(data, np.float64)
    first, bits = item.LUTDescriptor[1:]
    index = np.clip(np.rint(rescaled) - first, 0, len(table) - 1).astype(np.int64)
    return table[index], 0.0, float(2**bits - 1)


def _palette_colors(elements: Dataset, values: Ints) -> Pixels:
    entries, first, _ = elements.RedPaletteColorLookupTableDescriptor
    entries = entries or _MAX_PALETTE_ENTRIES
    clipped = np.clip(values, first, first + entries - 1)
    colors = apply_color_lut(clipped, elements)
    if colors.dtype == np.uint8 and entries > 256:
        # pydicom counts the entries of an 8-bit palette in 8 bits.
        raise UnreadableDicomError(
            f"its palette has {entries} colours of 8 bits; at most 256 are read"
        )
    excess_bits = 8 * (colors.dtype.itemsize - 1)
    return (colors >> excess_bits).astype(np.uint8)
