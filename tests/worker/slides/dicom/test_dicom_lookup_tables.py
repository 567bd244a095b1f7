"""DICOM's stored values and the tones they are shown in: rescaling, windows, tables, palettes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from tests.support.dicom_files import LOSSLESS, NATIVE, Samples, a_dicom_picture
from tests.support.dicom_reading import grey, refusal, whole
from tests.support.slides import a_picture

WINDOW = {"WindowCenter": 1000, "WindowWidth": 201}


def ramp(dtype: str, low: int, high: int) -> Samples:
    """Every whole number from low to high, in rows of 64."""
    return np.resize(np.arange(low, high + 1), (-(-(high - low + 1) // 64), 64)).astype(dtype)


@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS])
@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
def test_a_window_spreads_its_values_from_black_to_white(
    tmp_path: Path, syntax: str, dtype: str
) -> None:
    """With centre 1000 and width 201, 900 is the last black, 1100 the first white; PS3.3 C.11.2.1.2."""
    stored = ramp(dtype, 0 if dtype == "<u2" else -1000, 1999)
    if uid.UID(syntax) == uid.ExplicitVRBigEndian:
        stored = stored.astype(dtype.replace("<", ">"))
    seen = grey(a_dicom_picture(tmp_path / "a.dcm", stored, "MONOCHROME2", syntax, **WINDOW))
    expected = np.rint(np.clip((stored - 999.5) / 200 + 0.5, 0, 1) * 255)
    assert np.abs(seen - expected).max() <= 1
    assert (seen[stored <= 899].max(), seen[stored >= 1100].min()) == (0, 255)


@pytest.mark.parametrize(
    ("elements", "at", "tone"),
    [
        (WINDOW | {"RescaleSlope": 2, "RescaleIntercept": -1000}, 1000, 128),
        (WINDOW | {"VOILUTFunction": "LINEAR_EXACT"}, 1000, 128),
        (WINDOW | {"VOILUTFunction": "SIGMOID"}, 1050, 186),
        ({"WindowCenter": [1000, 7], "WindowWidth": [201, 7]}, 1000, 128),
        (WINDOW | {"BitsStored": 12, "HighBit": 11}, 1000, 128),
        ({}, 1000, 128),
        ({"WindowCenter": "", "WindowWidth": ""}, 1000, 128),
    ],
)
def test_the_tone_of_a_value(tmp_path: Path, elements: dict[str, Any], at: int, tone: int) -> None:
    """Rescaling comes before the window, the first of several windows counts, else the values' range."""
    stored = ramp("<u2", 1, 1999)
    seen = grey(a_dicom_picture(tmp_path / "a.dcm", stored, "MONOCHROME2", **elements))
    assert abs(int(seen[stored == at][0]) - tone) <= 1


def test_a_window_of_the_functional_groups(tmp_path: Path) -> None:
    """Enhanced objects keep window and rescaling in their functional groups."""
    window, rescale, groups = Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 0, 201
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, -1000
    groups.FrameVOILUTSequence, groups.PixelValueTransformationSequence = [window], [rescale]
    stored = ramp("<u2", 0, 1999)
    path = a_dicom_picture(
        tmp_path / "a.dcm", stored, "MONOCHROME2", SharedFunctionalGroupsSequence=[groups]
    )
    assert (
        grey(path)[stored < 899].max(),
        grey(path)[stored == 1000],
        grey(path)[stored > 1101].min(),
    ) == (
        0,
        128,
        255,
    )


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_table_of_tones(tmp_path: Path, bits: int, syntax: str) -> None:
    """A VOI LUT of 1,024 entries counts from its first value on; what lies outside has its first and last tone."""
    table = Dataset()
    table.LUTDescriptor = [1024, 100, bits]
    table.LUTData = [int(value) for value in np.linspace(0, 2**bits - 1, 1024)]
    table["LUTData"].VR = "US"
    stored = ramp(">u2" if syntax == uid.ExplicitVRBigEndian else "<u2", 0, 1999)
    seen = grey(
        a_dicom_picture(tmp_path / "a.dcm", stored, "MONOCHROME2", syntax, VOILUTSequence=[table])
    )
    assert np.abs(seen - np.clip((stored.astype(int) - 100) / 1023, 0, 1) * 255).max() <= 1


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    """In MONOCHROME1 the lowest value is white; values of 8 bits without a window are not stretched."""
    stored = ramp("u1", 20, 200)
    assert (
        grey(a_dicom_picture(tmp_path / "a.dcm", stored, "MONOCHROME1")) == 255 - stored.astype(int)
    ).all()


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.RLELossless]
)
@pytest.mark.parametrize("bits", [8, 16])
def test_palette_colour(tmp_path: Path, bits: int, syntax: str) -> None:
    """A palette gives each value its colour; a 16-bit palette loses its lower half."""
    colours = a_picture(256, 1)[0]
    said = {}
    for name, channel in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        said[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        entries = channel if bits == 8 else channel.astype("<u2") * 256 + 7
        said[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    stored = ramp("u1", 0, 255)
    assert (
        whole(a_dicom_picture(tmp_path / "a.dcm", stored, "PALETTE COLOR", syntax, **said))
        == colours[stored]
    ).all()


def test_a_palette_that_pydicom_would_get_wrong_is_refused(tmp_path: Path) -> None:
    """pydicom counts the entries of an 8-bit palette in 8 bits, so that a longer one would begin again."""
    said = {
        f"{name}PaletteColorLookupTableDescriptor": [1024, 0, 8]
        for name in ("Red", "Green", "Blue")
    }
    said |= {f"{name}PaletteColorLookupTableData": bytes(1024) for name in ("Red", "Green", "Blue")}
    assert (
        "1024 colours"
        in refusal(
            a_dicom_picture(tmp_path / "a.dcm", ramp("<u2", 0, 99), "PALETTE COLOR", **said)
        ).detail
    )
