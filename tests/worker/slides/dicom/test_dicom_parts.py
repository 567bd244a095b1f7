"""DICOM levels that are cut into several files, and frames that are missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid

from tests.support.dicom_files import a_dicom_slide
from tests.support.slides import a_slope
from worker.slides.errors import UnreadableSlideError
from worker.slides.formats import open_reader
from worker.slides.sandbox.client import Sandbox

PIXELS = a_slope(128, 128)


def cut(folder: Path, sizes: tuple[int, ...], total: int | None = None, **elements: Any) -> None:
    """Write a level of four frames as a concatenation of parts with so many frames each."""
    folder.mkdir(exist_ok=True)
    whole = a_dicom_slide(folder / "whole", PIXELS, uid.ExplicitVRLittleEndian, **elements)
    data_set = pydicom.dcmread(whole)
    whole.unlink()
    frame_bytes = 64 * 64 * 3
    pixels = data_set.PixelData
    places = data_set.get("PerFrameFunctionalGroupsSequence")
    data_set.ConcatenationUID = uid.generate_uid()
    data_set.SOPInstanceUIDOfConcatenationSource = uid.generate_uid()
    if total is not None:
        data_set.InConcatenationTotalNumber = total
    first = 0
    for number, frames in enumerate(sizes, 1):
        data_set.SOPInstanceUID = uid.generate_uid()
        data_set.InConcatenationNumber = number
        data_set.ConcatenationFrameOffsetNumber = first
        data_set.NumberOfFrames = frames
        data_set.PixelData = pixels[first * frame_bytes : (first + frames) * frame_bytes]
        if places is not None:
            data_set.PerFrameFunctionalGroupsSequence = places[first : first + frames]
        data_set.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        first += frames


@pytest.mark.parametrize("sparse", [{}, {"missing": ()}])
def test_all_parts_together_are_the_level(tmp_path: Path, sparse: dict[str, Any]) -> None:
    """A concatenation is read whichever of its files is opened, also with a copy of one beside."""
    cut(tmp_path, (1, 3), total=2, **sparse)
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "1.dcm").read_bytes())
    for name in ("1.dcm", "2.dcm"):
        reader = open_reader(tmp_path / name)
        shown = np.asarray(reader.read_region((0, 0), 0, (128, 128)))
        reader.close()
        assert reader.warnings == ()
        assert (shown[..., :3] == PIXELS).all()


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
@pytest.mark.parametrize("total", [4, None])
def test_a_full_level_without_one_of_its_parts_is_refused(
    tmp_path: Path, missing: int, total: int | None
) -> None:
    """The parts have fewer frames than the matrix needs, also if none says how many there are."""
    cut(tmp_path, (1, 1, 1, 1), total)
    (tmp_path / f"{missing}.dcm").unlink()
    with pytest.raises(UnreadableSlideError) as caught:
        open_reader(next(tmp_path.iterdir()))
    if missing == 4 and total is None:
        assert "4 frames; its files have 3" in caught.value.detail


@pytest.mark.parametrize(("missing", "total"), [(1, None), (2, None), (3, 3), (1, 3)])
def test_a_sparse_level_without_one_of_its_parts_is_refused(
    tmp_path: Path, missing: int, total: int | None
) -> None:
    """The parts' own numbers and their first frames show what is missing."""
    cut(tmp_path, (1, 1, 1), total, missing={(1, 1)})
    (tmp_path / f"{missing}.dcm").unlink()
    with pytest.raises(UnreadableSlideError, match="in concatenation"):
        open_reader(next(tmp_path.iterdir()))


def test_where_the_last_part_may_be_missing_there_is_a_warning(tmp_path: Path) -> None:
    """A sparse level of parts that do not say how many they are may be whole or not."""
    cut(tmp_path, (1, 1, 1), missing={(1, 1)})
    with Sandbox(threads=1).open(tmp_path / "1.dcm") as slide:
        assert [warning.code for warning in slide.warnings] == ["parts_may_be_missing"]


def test_a_sparse_slide_may_leave_frames_out(tmp_path: Path) -> None:
    """Frames that were left out on purpose are empty glass, without a warning."""
    path = a_dicom_slide(tmp_path / "a.dcm", PIXELS, uid.ExplicitVRLittleEndian, missing={(1, 1)})
    reader = open_reader(path)
    alpha = np.asarray(reader.read_region((0, 0), 0, (128, 128)).getchannel("A"))
    reader.close()
    assert reader.warnings == ()
    assert (alpha[64:, 64:] == 0).all()
    assert (alpha[:64] == 255).all()


def test_places_without_an_organization_type_are_a_sparse_slide(tmp_path: Path) -> None:
    """DimensionOrganizationType is optional; the frames' places tell."""
    path = a_dicom_slide(
        tmp_path / "a.dcm",
        PIXELS,
        uid.ExplicitVRLittleEndian,
        missing={(1, 1)},
        DimensionOrganizationType=None,
    )
    reader = open_reader(path)
    reader.close()
    assert reader.warnings == ()


def test_a_full_slide_in_one_file_needs_all_its_frames(tmp_path: Path) -> None:
    """A file that says fewer frames than its matrix needs shows an unknown part of the slide."""
    path = a_dicom_slide(tmp_path / "a.dcm", PIXELS, uid.ExplicitVRLittleEndian, NumberOfFrames=3)
    with pytest.raises(UnreadableSlideError, match="4 frames"):
        open_reader(path)
