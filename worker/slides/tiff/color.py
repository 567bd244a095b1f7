"""What the samples of a TIFF mean: from whatever is stored to 8-bit RGB, or RGBA where there is transparency.

Owns photometric interpretations, bit depths and extra samples; knows nothing of tiles, files or pyramids.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffPage

from broker.errors import OrderError
from worker.geometry.frame import Pixels

Samples = NDArray[Any]

_COLOURS: Final[dict[int, int]] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
_PILLOW_MODES: Final[dict[int, str]] = {PHOTOMETRIC.YCBCR: "YCbCr", PHOTOMETRIC.SEPARATED: "CMYK"}
_DEPTHS: Final = frozenset({1, 2, 4, 8, *range(9, 17)})
_UNSIGNED: Final = 1  # SampleFormat
# These say YCbCr and give RGB: the codec converts. Aperio's 33003 does not.
_GIVES_RGB: Final = frozenset({
    COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_2000_LOSSY,
    COMPRESSION.APERIO_JP2000_RGB, COMPRESSION.JPEG2000, COMPRESSION.JPEGXR_NDPI, COMPRESSION.JPEGXR,
    COMPRESSION.WEBP, COMPRESSION.WEBP_DEPRECATED, COMPRESSION.JPEGXL, COMPRESSION.JPEGXL_DNG,
})  # fmt: skip
_MIN_SAMPLE, _MAX_SAMPLE, _COLOR_MAP = 280, 281, 320


class Colour:
    """How the stored samples of one page become colours.

    More than 8 bits lose the low ones; one grey channel of more than 8 bits is spread from MinSampleValue to
    MaxSampleValue where both are given. An alpha channel of unspecified kind is left out.
    """

    def __init__(self, page: TiffPage) -> None:
        """Raises `OrderError` `slide_unreadable` for what is no picture in colour or grey."""
        self._colours = _colours(page)
        self._alpha = _alpha(page, self._colours)
        self._photometric = page.photometric
        if page.compression == COMPRESSION.APERIO_JP2000_YCBC:
            self._photometric = PHOTOMETRIC.YCBCR
        elif (
            page.photometric == PHOTOMETRIC.YCBCR
            and page.compression in _GIVES_RGB
            and page.planarconfig == 1
        ):
            self._photometric = PHOTOMETRIC.RGB
        self._palette = _palette(page) if page.photometric == PHOTOMETRIC.PALETTE else None
        self._eight_bits = _eight_bits(page, self._colours)

    def __call__(self, stored: Samples) -> Pixels:
        """(height, width, samples) as stored -> (height, width, 3), or 4 with straight alpha."""
        colours = self._rgb(stored[..., : self._colours])
        if self._alpha is None:
            return colours
        alpha = self._eight_bits(stored[..., self._colours, None])
        coloured = np.concatenate([colours, alpha], axis=2)
        if self._alpha == EXTRASAMPLE.UNASSALPHA:
            return coloured
        height, width = alpha.shape[:2]
        premultiplied = Image.frombuffer(
            "RGBa", (width, height), coloured.tobytes(), "raw", "RGBa", 0, 1
        )
        return np.asarray(premultiplied.convert("RGBA"))

    def _rgb(self, stored: Samples) -> Pixels:
        if self._palette is not None:
            return self._palette[np.minimum(stored[..., 0], len(self._palette) - 1)]
        pixels = self._eight_bits(stored)
        if self._photometric in {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE}:
            grey = pixels if self._photometric == PHOTOMETRIC.MINISBLACK else 255 - pixels
            return np.repeat(grey, 3, axis=2)
        mode = _PILLOW_MODES.get(self._photometric)
        if mode is None:
            return pixels
        height, width = pixels.shape[:2]
        return np.asarray(
            Image.frombuffer(mode, (width, height), pixels.tobytes(), "raw", mode, 0, 1).convert(
                "RGB"
            )
        )


def _colours(page: TiffPage) -> int:
    if page.sampleformat != _UNSIGNED or page.dtype is None or page.bitspersample not in _DEPTHS:
        kind = getattr(page.sampleformat, "name", page.sampleformat)
        raise _unfit(
            f"its pixels are of {page.bitspersample} bits ({kind}); 1 to 16 bits, unsigned, are read"
        )
    colours = _COLOURS.get(page.photometric)
    if colours is None:
        name = getattr(page.photometric, "name", page.photometric)
        raise _unfit(
            f"its colours are stored as {name}; RGB, YCbCr, CMYK, grey and palettes are read"
        )
    if not colours <= page.samplesperpixel <= colours + 1 or (
        page.samplesperpixel == 2 and _alpha(page, colours) is None
    ):
        raise _unfit(
            f"each of its pixels has {page.samplesperpixel} channels, as in fluorescence; one or RGB is read"
        )
    return colours


def _alpha(page: TiffPage, colours: int) -> EXTRASAMPLE | None:
    said = page.extrasamples[0] if page.extrasamples else EXTRASAMPLE.UNSPECIFIED
    has_one = page.samplesperpixel > colours and said != EXTRASAMPLE.UNSPECIFIED
    return EXTRASAMPLE(said) if has_one else None


def _palette(page: TiffPage) -> Pixels:
    entries = 2**page.bitspersample
    table = np.asarray(page.tags.valueof(_COLOR_MAP))
    if table.size != 3 * entries:
        raise _unfit(f"its palette has {table.size} values where {3 * entries} are needed")
    return (table.reshape(3, entries).T >> 8).astype(np.uint8)


def _eight_bits(page: TiffPage, colours: int) -> Callable[[Samples], Pixels]:
    """How a sample becomes 8 bits."""
    bits = page.bitspersample
    low, high = page.tags.valueof(_MIN_SAMPLE), page.tags.valueof(_MAX_SAMPLE)
    if bits > 8 and colours == 1 and isinstance(low, int) and isinstance(high, int) and low < high:
        return lambda stored: (
            (np.clip(stored, low, high) - float(low)) * (255 / (high - low))
        ).astype(np.uint8)
    if bits > 8:
        return lambda stored: (stored >> (bits - 8)).astype(np.uint8)
    scale = 255 // (2**bits - 1)
    return lambda stored: stored.astype(np.uint8) * np.uint8(scale) if scale > 1 else stored


def _unfit(detail: str) -> OrderError:
    return OrderError(
        "slide_unreadable",
        f"The TIFF cannot be read: {detail}",
        hint="export it in 8-bit RGB, one plane of it",
    )
