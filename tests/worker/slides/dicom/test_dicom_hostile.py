"""DICOM files that are cut, lie about themselves, or were made to exhaust whoever reads them."""

import logging
import random
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from broker.errors import OrderError
from tests.support.dicom_files import SECRET, a_dicom_picture, a_dicom_slide, save
from tests.support.paths import SLIDES
from tests.support.slides import a_picture
from worker.slides.dicom.reader import open_dicom

META = b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
ITEM, ITEM_END, ALL_OF_IT = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xff\xff\xff\xff"


def problem(path: Path) -> OrderError:
    """What comes of opening and reading all of a file, which must be a clear problem."""
    with pytest.raises(OrderError) as caught:
        read(path)
    assert caught.value.code in {"slide_unreadable", "not_a_slide"}
    assert SECRET not in f"{caught.value.detail} {caught.value.hint}"
    return caught.value


def read(path: Path) -> None:
    """Open and read a corner of each level."""
    pyramid = open_dicom(path)
    try:
        for level in range(len(pyramid.level_dimensions)):
            pyramid.read_region((0, 0), level, (300, 300))
    finally:
        pyramid.close()


@pytest.mark.parametrize("make", [a_dicom_slide, a_dicom_picture])
def test_damaged_files_end_in_a_picture_or_a_problem(tmp_path: Path, make: Any) -> None:
    """Flipped bits, missing ends, extreme fields: never another exception, a warning or a word of pydicom's."""
    dice, heard = random.Random(4), Heard()
    logging.getLogger().addHandler(heard)
    kind = ("RGB", uid.RLELossless) if make is a_dicom_picture else (uid.JPEGLSLossless,)
    data = make(tmp_path / "whole.dcm", a_picture(100, 70), *kind).read_bytes()
    for number in range(150):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(damaged(data, dice))
        with suppress(OrderError):
            read(path)
        path.unlink()
    logging.getLogger().removeHandler(heard)
    assert not heard.records


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The same bytes with some wrong, or only the first of them."""
    hurt, reach = bytearray(data), dice.choice([800, len(data)])
    match dice.randrange(3):
        case 0:
            for _ in range(8):
                hurt[132 + dice.randrange(reach - 132)] ^= 1 << dice.randrange(8)
        case 1:
            at = 132 + dice.randrange(reach - 140)
            hurt[at : at + 4] = dice.choice([b"\xff" * 4, b"\0" * 4, b"\x7f" * 4])
        case _:
            del hurt[132 + dice.randrange(len(data) - 132) :]
    return bytes(hurt)


@pytest.mark.parametrize("name", ["highdicom-sm_annotations.dcm", "made.dcm"])
def test_an_object_without_a_picture_is_named(tmp_path: Path, name: str) -> None:
    """Annotations and reports are no slides; the problem says what the file is."""
    path = SLIDES / name
    if name == "made.dcm":
        report = Dataset()
        report.SOPClassUID, report.SOPInstanceUID = uid.ComprehensiveSRStorage, uid.generate_uid()
        path = save(tmp_path / name, report, uid.ExplicitVRLittleEndian)
    if not path.exists():
        pytest.skip("without the shared slides; the made report covers it")
    error = problem(path)
    assert error.code == "not_a_slide"
    assert ("Annotations" if name != "made.dcm" else "Comprehensive SR") in error.detail


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.SegmentationStorage,
        uid.RTDoseStorage,
        uid.ParametricMapStorage,
        "1.2.840.10008.5.1.4.1.1.66.7",
    ],
)
def test_measurements_in_the_shape_of_pictures_are_no_slides(
    tmp_path: Path, sop_class: str
) -> None:
    """Segmentations, label maps, doses and parametric maps have pixels that show no tissue."""
    assert (
        problem(
            a_dicom_picture(tmp_path / "a.dcm", a_picture(9, 9), "RGB", SOPClassUID=sop_class)
        ).code
        == "not_a_slide"
    )


def test_an_unknown_transfer_syntax_is_named(tmp_path: Path) -> None:
    """A film is refused by the name of its compression."""
    path = a_dicom_picture(tmp_path / "a.dcm", a_picture(9, 9), "RGB", uid.RLELossless)
    film = dcmread(path)
    film.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    film.save_as(path)
    assert "MPEG2 Main Profile / Main Level) is not decoded" in problem(path).detail


@pytest.mark.parametrize(
    "offsets",
    [[0, 10**9], [2**32 - 8, 8], [9, 8], [0, 3], [0]],
    ids=["outside", "far", "backwards", "within", "few"],
)
def test_an_offset_table_that_points_elsewhere_is_found_out(
    tmp_path: Path, offsets: list[int]
) -> None:
    """Frames that do not lie in the file, or not where an item begins, are a problem and not other bytes."""
    path = a_dicom_slide(tmp_path / "a.dcm", a_picture(128, 64))
    data = path.read_bytes()
    at = data.index(ITEM + struct.pack("<I", 8)) + 8
    table = struct.pack(f"<{len(offsets)}I", *offsets).ljust(8, b"\0")
    path.write_bytes(data[:at] + table + data[at + 8 :])
    problem(path)


def test_an_enormous_length_costs_no_memory(tmp_path: Path) -> None:
    """A value that is said to have four gigabytes is looked for where the file ends."""
    (tmp_path / "a.dcm").write_bytes(
        META + b"\x08\0\x08\0UN\0\0" + struct.pack("<I", 2**32 - 2) + b"x" * 1000
    )
    tracemalloc.start()
    problem(tmp_path / "a.dcm")
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 2**20


@pytest.mark.parametrize("depth", [50, 5000])
def test_nested_sequences_end(tmp_path: Path, depth: int) -> None:
    """Sequences within sequences without end are given up, not followed until the stack is full."""
    nest = b"\x08\0\x40\x11SQ\0\0" + ALL_OF_IT + ITEM + ALL_OF_IT
    (tmp_path / "a.dcm").write_bytes(META + nest * depth)
    problem(tmp_path / "a.dcm")


def test_a_head_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    """A sequence of empty items without end is followed for half a million steps; pydicom alone takes minutes."""
    with (tmp_path / "a.dcm").open("wb") as file:
        file.write(META + b"\x08\0\x08\0UN\0\0" + ALL_OF_IT)
        file.truncate(100 * 2**20)
    assert "too many elements" in problem(tmp_path / "a.dcm").detail


def test_a_long_sequence_is_not_parsed(tmp_path: Path) -> None:
    """Nor is one whose length is given, and which pydicom would parse when it is looked at."""
    length = 16 * 2**20
    sequence = b"\x00\x52\x29\x92SQ\0\0" + struct.pack("<I", length) + bytes(length)
    (tmp_path / "a.dcm").write_bytes(META + sequence)
    assert f"has {length} bytes" in problem(tmp_path / "a.dcm").detail


def test_a_file_that_inflates_without_end_is_given_up(tmp_path: Path) -> None:
    """A deflated file of a megabyte is inflated up to 256 MiB and no further."""
    squeeze, path = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS), tmp_path / "a.dcm"
    empty = bytes(2**20)
    body = b"".join(squeeze.compress(empty) for _ in range(260)) + squeeze.flush()
    path.write_bytes(META.replace(b"\x14\0", b"\x16\0").replace(b"2.1\0", b"2.1.99") + body)
    assert path.stat().st_size < 2 * 2**20
    assert "inflates" in problem(path).detail


def test_a_frame_of_another_size_than_said_is_not_decoded(tmp_path: Path) -> None:
    """A compressed frame that claims other dimensions than the file's is refused before room is made for it."""
    path = a_dicom_picture(
        tmp_path / "a.dcm", a_picture(600, 400), "RGB", uid.JPEG2000Lossless, Rows=40, Columns=60
    )
    assert "invalid out.shape" in problem(path).detail


def test_pixels_that_are_fewer_than_said_are_a_problem(tmp_path: Path) -> None:
    """Rows times columns times frames must be there."""
    assert (
        "do not fit"
        in problem(a_dicom_picture(tmp_path / "a.dcm", a_picture(60, 40), "RGB", Rows=41)).detail
    )


def test_a_broken_file_of_the_series_is_not_passed_over(tmp_path: Path) -> None:
    """The largest level may be the broken one: the slide is refused, not shown without it."""
    series = uid.generate_uid()
    a_dicom_slide(tmp_path / "a.dcm", a_picture(64, 64), SeriesInstanceUID=series)
    large = a_dicom_slide(
        tmp_path / "b.dcm", np.tile(a_picture(64, 64), (2, 2, 1)), SeriesInstanceUID=series
    )
    large.write_bytes(large.read_bytes()[:-2000])
    problem(tmp_path / "a.dcm")
