"""Which tone a stored value is shown in: a table from every value there can be to red, green and blue.

Owns the chain of PS3.3 C.11 (rescaling, window or look-up table, inversion) and palettes; knows no codec.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_windowing

from worker.geometry.frame import Floats, Ints, Pixels
from worker.slides.dicom.file import unreadable
from worker.slides.dicom.header import TONE_KEYWORDS, Stored, group

_NO_VOI_BITS: Final = 8  # up to here values without a window are tones already


def has_tones(data_set: Dataset, stored: Stored) -> bool:
    """Whether the file says how its grey values are shown; where not, it depends on which values there are."""
    chosen = _elements(data_set)
    return (
        stored.photometric == "PALETTE COLOR"
        or stored.bits_stored <= _NO_VOI_BITS
        or _voi(chosen) != "none"
    )


def tones(data_set: Dataset, stored: Stored, present: NDArray[np.bool_] | None = None) -> Pixels:
    """(2 ** bits_stored, 3), by the bits of the stored value.

    Where nothing says how grey values are shown, they are spread from the least to the largest that is `present`.
    """
    chosen, values = _elements(data_set), np.arange(2**stored.bits_stored, dtype=np.int64)
    if stored.is_signed:
        values[len(values) // 2 :] -= len(values)
    if stored.photometric == "PALETTE COLOR":
        return _palette(chosen, values)
    shown, least, most = _shown(chosen, values, present)
    grey = np.clip((shown - least) / ((most - least) or 1), 0, 1)
    if stored.photometric == "MONOCHROME1":
        grey = 1 - grey
    return np.repeat(np.rint(grey * 255).astype(np.uint8)[:, None], 3, axis=1)


def evenly(bits_stored: int) -> Pixels:
    """(2 ** bits_stored,): colour samples of that many bits in 8."""
    return np.rint(np.linspace(0, 255, 2**bits_stored)).astype(np.uint8)


def _elements(data_set: Dataset) -> Dataset:
    """What of the tone elements is filled in, those of the functional groups first."""
    chosen = Dataset()
    chosen.set_original_encoding(*data_set.original_encoding)
    groups = (
        group(data_set, "PixelValueTransformationSequence"),
        group(data_set, "FrameVOILUTSequence"),
    )
    for source in (data_set, *groups):
        for keyword in TONE_KEYWORDS:
            if keyword in source and source.get(keyword) not in (None, ""):
                chosen.add(source[keyword])
    return chosen


def _voi(chosen: Dataset) -> str:
    if chosen.get("VOILUTSequence"):
        return "table"
    return "window" if "WindowCenter" in chosen and "WindowWidth" in chosen else "none"


def _shown(
    chosen: Dataset, values: Ints, present: NDArray[np.bool_] | None
) -> tuple[Floats, float, float]:
    """The values as they are shown, and what black and white are among them."""
    rescaled = apply_modality_lut(values, chosen)
    voi = _voi(chosen)
    if voi == "none":
        inside = rescaled if present is None else rescaled[present]
        return rescaled.astype(np.float64), float(inside.min()), float(inside.max())
    if voi == "table":
        table = _voi_table(chosen)
        first, bits = chosen.VOILUTSequence[0].LUTDescriptor[1:]
        entry = np.clip(np.rint(rescaled) - first, 0, len(table) - 1).astype(np.int64)
        return table[entry], 0.0, float(2**bits - 1)
    # The ends of a window are what it makes of what lies beyond it.
    black, white = apply_windowing(np.array([-np.inf, np.inf]), chosen)
    return apply_windowing(rescaled, chosen), float(black), float(white)


def _voi_table(chosen: Dataset) -> Floats:
    """The entries of the VOI LUT; pydicom's own look-up counts them in as many bits as an entry has."""
    data = chosen.VOILUTSequence[0].LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if chosen.original_encoding[1] else ">u2")
    return np.asarray(data, np.float64)


def _palette(chosen: Dataset, values: Ints) -> Pixels:
    entries, first, _ = chosen.RedPaletteColorLookupTableDescriptor
    inside = np.clip(values, first, first + (entries or 2**16) - 1)
    colours = apply_color_lut(inside, chosen)
    if colours.dtype == np.uint8 and (entries or 2**16) > 256:
        # pydicom counts the entries of an 8-bit palette in 8 bits.
        raise unreadable(
            f"its palette has {entries or 2**16} colours of 8 bits; at most 256 are read"
        )
    return (colours >> 8 * (colours.dtype.itemsize - 1)).astype(np.uint8)
