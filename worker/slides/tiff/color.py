"""Colors of a TIFF: from samples as they are stored to 8-bit RGB, or RGBA with transparency.

Handles photometric interpretations, bit depths and extra samples. Knows no tiles, files or levels.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffPage

from worker.geometry.frame import Pixels
from worker.slides.errors import UnreadableTiffError

Samples = NDArray[Any]

_COLOR_CHANNELS: Final[dict[int, int]] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
_PILLOW_MODES: Final[dict[int, str]] = {PHOTOMETRIC.YCBCR: "YCbCr", PHOTOMETRIC.SEPARATED: "CMYK"}
_BIT_DEPTHS: Final = frozenset({1, 2, 4, *range(8, 17)})
_UNSIGNED: Final = 1  # SampleFormat
# Pages with these compressions are marked as YCbCr, but their codecs return RGB. What those of
# JPEG 2000 return is found out by `page_color`.
_CODECS_RETURNING_RGB: Final = frozenset(
    {
        COMPRESSION.OJPEG,
        COMPRESSION.JPEG,
        COMPRESSION.ALT_JPEG,
        COMPRESSION.JPEGXR_NDPI,
        COMPRESSION.JPEGXR,
        COMPRESSION.WEBP,
        COMPRESSION.WEBP_DEPRECATED,
        COMPRESSION.JPEGXL,
        COMPRESSION.JPEGXL_DNG,
    }
)
_HAS_WHITE: Final = frozenset(
    {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE}
)
_MIN_SAMPLE_VALUE: Final = 280
_MAX_SAMPLE_VALUE: Final = 281
_COLOR_MAP: Final = 320
_EXPORT_AS_RGB: Final = "export it in 8-bit RGB, one plane of it"
EXPORT_IN_EIGHT_BITS: Final = (
    "export it in 8-bit RGB, or with the value of white stated (MaxSampleValue or SignificantBits)"
)


class AmbiguousColorError(UnreadableTiffError):
    """The file does not say how its samples are to be shown: every reader would have to guess."""


class ColorConverter:
    """Converts the stored samples of one page to RGB.

    Samples with more than 8 bits are scaled from 0 to `white` if it is given, else the high 8 bits
    are used. A single grey channel of more than 8 bits is scaled from MinSampleValue to
    MaxSampleValue if the page states them. An alpha channel of unspecified kind is ignored.
    """

    def __init__(self, page: TiffPage, white: int | None = None, *, is_ycbcr: bool = False) -> None:
        """`is_ycbcr` says that the samples are YCbCr, although the page states RGB.

        Raise `UnreadableSlideError` if the page is not an image in color or grey.
        """
        self._channels = _color_channels(page)
        self._alpha = _alpha_kind(page, self._channels)
        self._photometric = _photometric(page)
        if is_ycbcr:
            self._photometric = PHOTOMETRIC.YCBCR
        self._bits = page.bitspersample
        self._white = white
        self._grey_range = _grey_range(page, self._channels)
        self._palette: Pixels | None = None
        if page.photometric == PHOTOMETRIC.PALETTE:
            self._palette = _palette(page)

    def convert(self, samples: Samples) -> Pixels:
        """Return (height, width, samples) as (height, width, 3), or 4 with straight alpha."""
        colors = self._to_rgb(samples[..., : self._channels])
        if self._alpha is None:
            return colors
        alpha = self._to_eight_bits(samples[..., self._channels, None])
        rgba = np.concatenate([colors, alpha], axis=2)
        if self._alpha == EXTRASAMPLE.UNASSALPHA:
            return rgba
        height, width = alpha.shape[:2]
        premultiplied = Image.frombuffer(
            "RGBa", (width, height), rgba.tobytes(), "raw", "RGBa", 0, 1
        )
        return np.asarray(premultiplied.convert("RGBA"))

    def _to_rgb(self, samples: Samples) -> Pixels:
        if self._palette is not None:
            return self._palette[np.minimum(samples[..., 0], len(self._palette) - 1)]
        pixels = self._to_eight_bits(samples)
        if self._photometric == PHOTOMETRIC.MINISBLACK:
            return np.repeat(pixels, 3, axis=2)
        if self._photometric == PHOTOMETRIC.MINISWHITE:
            return np.repeat(255 - pixels, 3, axis=2)
        mode = _PILLOW_MODES.get(self._photometric)
        if mode is None:
            return pixels
        height, width = pixels.shape[:2]
        image = Image.frombuffer(mode, (width, height), pixels.tobytes(), "raw", mode, 0, 1)
        return np.asarray(image.convert("RGB"))

    def _to_eight_bits(self, samples: Samples) -> Pixels:
        if self._grey_range is not None:
            low, high = self._grey_range
            above_low = np.clip(samples, low, high) - float(low)
            return (above_low * (255 / (high - low))).astype(np.uint8)
        if self._white is not None:
            return scale_to_white(samples, self._white)
        if self._bits > 8:
            return (samples >> (self._bits - 8)).astype(np.uint8)
        scale = 255 // (2**self._bits - 1)
        if scale > 1:
            return samples.astype(np.uint8) * np.uint8(scale)
        return samples


def scale_to_white(samples: Samples, white: int) -> Pixels:
    """Return samples as 8 bits, where `white` and larger values become 255."""
    clipped = np.minimum(samples, white)
    bits = white.bit_length()
    if bits >= 8 and white == 2**bits - 1:
        return (clipped >> (bits - 8)).astype(np.uint8)
    return (clipped * (255 / white)).round().astype(np.uint8)


def stated_white(page: TiffPage, significant_bits: int | None) -> int | None:
    """Return the value of white that the file states for samples of more than 8 bits.

    It is MaxSampleValue in color, else what `significant_bits` (of OME-XML or a compressed stream)
    can hold. None where nothing is stated, or only what the container of the samples can hold:
    programs write that whatever the samples are.
    """
    if page.bitspersample <= 8:
        return None
    largest = 2**page.bitspersample - 1
    if page.samplesperpixel >= 3:
        white = _largest_number(page.tags.valueof(_MAX_SAMPLE_VALUE))
        if 0 < white < largest:
            return white
    if significant_bits is not None and 0 < significant_bits < page.bitspersample:
        return int(2**significant_bits - 1)
    return None


def refuse_unknown_white(page: TiffPage, white: int | None, largest_sample: int) -> None:
    """Raise `AmbiguousColorError` if `largest_sample`, found in the page, contradicts its white.

    A slide's glass is nearly white. Where its samples use less than half of their range, they have
    fewer bits than their container, and where nothing states how many, they would be shown too
    dark. Grey is no other case: of fluorescence, which is dark, nothing is lost by it.
    """
    if page.bitspersample <= 8 or page.photometric not in _HAS_WHITE:
        return
    if _grey_range(page, _COLOR_CHANNELS[page.photometric]) is not None:
        return
    if white is None and page.bitspersample == 16 and largest_sample < 2**15:
        raise AmbiguousColorError(
            f"its samples have 16 bits, but their values reach only {largest_sample}, "
            "and nothing in the file says which value is white",
            hint=EXPORT_IN_EIGHT_BITS,
        )
    if white is not None and largest_sample > 2 * white + 1:
        raise AmbiguousColorError(
            f"it says that {white} is the largest value of a sample, but {largest_sample} occurs",
            hint=EXPORT_IN_EIGHT_BITS,
        )


def _largest_number(value: object) -> int:
    """Return the largest of a tag's whole numbers, 0 if it has none."""
    numbers = value if isinstance(value, tuple) else (value,)
    return max((number for number in numbers if isinstance(number, int)), default=0)


def _color_channels(page: TiffPage) -> int:
    """Return how many of the samples are colors.

    Raises `UnreadableSlideError` for samples that cannot be shown.
    """
    if (
        page.sampleformat != _UNSIGNED
        or page.dtype is None
        or page.bitspersample not in _BIT_DEPTHS
    ):
        sample_format = getattr(page.sampleformat, "name", page.sampleformat)
        raise UnreadableTiffError(
            f"its pixels are of {page.bitspersample} bits ({sample_format}); "
            "1 to 16 bits, unsigned, are read",
            hint=_EXPORT_AS_RGB,
        )
    channels = _COLOR_CHANNELS.get(page.photometric)
    if channels is None:
        name = getattr(page.photometric, "name", page.photometric)
        raise UnreadableTiffError(
            f"its colours are stored as {name}; RGB, YCbCr, CMYK, grey and palettes are read",
            hint=_EXPORT_AS_RGB,
        )
    has_odd_count = not channels <= page.samplesperpixel <= channels + 1
    is_two_channels = page.samplesperpixel == 2 and _alpha_kind(page, channels) is None
    if has_odd_count or is_two_channels:
        raise UnreadableTiffError(
            f"each of its pixels has {page.samplesperpixel} channels, as in fluorescence; "
            "one or RGB is read",
            hint=_EXPORT_AS_RGB,
        )
    return channels


def _alpha_kind(page: TiffPage, channels: int) -> EXTRASAMPLE | None:
    """Return the kind of the alpha channel, None where there is none or its kind is unspecified."""
    if page.samplesperpixel <= channels or not page.extrasamples:
        return None
    kind = page.extrasamples[0]
    if kind == EXTRASAMPLE.UNSPECIFIED:
        return None
    return EXTRASAMPLE(kind)


def _photometric(page: TiffPage) -> int:
    """Return the photometric interpretation of what the codec returns."""
    if (
        page.photometric == PHOTOMETRIC.YCBCR
        and page.compression in _CODECS_RETURNING_RGB
        and page.planarconfig == 1
    ):
        return PHOTOMETRIC.RGB
    photometric: int = page.photometric
    return photometric


def _palette(page: TiffPage) -> Pixels:
    """Return the palette's colors, (entries, 3)."""
    entries = 2**page.bitspersample
    table = np.asarray(page.tags.valueof(_COLOR_MAP))
    if table.size != 3 * entries:
        raise UnreadableTiffError(
            f"its palette has {table.size} values where {3 * entries} are needed",
            hint=_EXPORT_AS_RGB,
        )
    return (table.reshape(3, entries).T >> 8).astype(np.uint8)


def _grey_range(page: TiffPage, channels: int) -> tuple[int, int] | None:
    """Return the values of black and white of a grey page of more than 8 bits, if it states them.

    MinSampleValue is 0 by default. The whole range of the container is no statement.
    """
    if page.bitspersample <= 8 or channels != 1:
        return None
    low = page.tags.valueof(_MIN_SAMPLE_VALUE, 0)
    high = page.tags.valueof(_MAX_SAMPLE_VALUE)
    if (low, high) == (0, 2**page.bitspersample - 1):
        return None
    if isinstance(low, int) and isinstance(high, int) and low < high:
        return low, high
    return None
