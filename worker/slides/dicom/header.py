"""What a DICOM file says of its picture, as plain checked values.

Owns the elements that matter and the order of belief in them; knows nothing of who is in the picture, of files beside
this one and of decoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom import uid
from pydicom.dataset import Dataset

from broker.errors import OrderError
from worker.slides.dicom.file import DicomFile, PixelData, parsing, unreadable

TONE_KEYWORDS: Final = (
    "BitsStored", "ModalityLUTSequence", "PhotometricInterpretation", "PixelRepresentation",
    "RescaleIntercept", "RescaleSlope", "VOILUTFunction", "VOILUTSequence", "WindowCenter", "WindowWidth",
    *(f"{kind}PaletteColorLookupTable{what}"
      for colour in ("Red", "Green", "Blue")
      for kind, what in ((colour, "Descriptor"), (colour, "Data"), (f"Segmented{colour}", "Data"))),
)  # fmt: skip
"""The elements that say how stored values become tones."""

KEYWORDS: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "ConcatenationUID",
    "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "HighBit", "PlanarConfiguration", "NumberOfFrames",
    "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "DimensionOrganizationType", "TotalPixelMatrixFocalPlanes",
    "NumberOfOpticalPaths", "OpticalPathSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelSpacing", "ImagerPixelSpacing", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", *TONE_KEYWORDS,
)  # fmt: skip
"""All elements that are looked at."""

_MOST_FRAMES: Final = 2**22
_PIXEL_DATA: Final = 0x7FE00010
_NOT_PICTURES: Final = frozenset({
    uid.SegmentationStorage, uid.ParametricMapStorage, uid.RTDoseStorage,
    "1.2.840.10008.5.1.4.1.1.66.7",  # label maps, which pydicom does not know yet
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """How the pixels of one frame are stored; PS3.3 C.7.6.3."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    """The total pixel matrix of a slide's level and how frames lie in it; PS3.3 C.8.12.4.

    `corners`: 1-based column and row of each frame's first pixel; none where frames fill the matrix row by row.
    """

    width: int
    height: int
    layers: int
    corners: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True, slots=True)
class Head:
    """One file. `spacing_mm` is the distance of pixel centres in x and y; `offsets` the extended table, undecoded."""

    sop_class: uid.UID
    instance: str
    series: str
    syntax: uid.UID
    image_type: tuple[str, ...]
    is_part: bool
    frames: int
    pixels: PixelData
    stored: Stored
    matrix: Matrix | None
    spacing_mm: tuple[float, float] | None
    offsets: tuple[bytes, bytes] | None

    @property
    def is_slide(self) -> bool:
        """Whether it is (a level of) a whole slide."""
        return self.sop_class == uid.VLWholeSlideMicroscopyImageStorage


def head_of(file: DicomFile) -> Head:
    """The head of an open file. Raises `OrderError`: `not_a_slide` where it has no picture, `slide_unreadable`."""
    with parsing():
        sop_class = uid.UID(file.data_set.SOPClassUID)
        if file.pixels is None or file.pixels.tag != _PIXEL_DATA or sop_class in _NOT_PICTURES:
            raise _not_a_picture(sop_class)
        head = _head(file, sop_class, file.pixels)
    if not 0 < head.frames <= _MOST_FRAMES:
        raise unreadable(f"it has {head.frames} frames; at most {_MOST_FRAMES} are read")
    return head


def group(data_set: Dataset, keyword: str) -> Dataset:
    """The functional group that holds for all frames, else the first frame's, else an empty one; PS3.3 C.7.6.16."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for holder in (data_set.get(groups) or ())[:1]:
            items: Sequence[Dataset] = holder.get(keyword) or ()
            if items:
                return items[0]
    return Dataset()


def _head(file: DicomFile, sop_class: uid.UID, pixels: PixelData) -> Head:
    elements, frames = file.data_set, int(file.data_set.get("NumberOfFrames") or 1)
    tables = elements.get("ExtendedOffsetTable"), elements.get("ExtendedOffsetTableLengths")
    return Head(
        sop_class=sop_class,
        instance=str(elements.get("SOPInstanceUID", "")),
        series=str(elements.get("SeriesInstanceUID", "")),
        syntax=file.syntax,
        image_type=tuple(str(word) for word in _several(elements.get("ImageType"))),
        is_part="ConcatenationUID" in elements,
        frames=frames,
        pixels=pixels,
        stored=_stored(elements),
        matrix=_matrix(elements) if sop_class == uid.VLWholeSlideMicroscopyImageStorage else None,
        spacing_mm=_spacing_mm(elements),
        offsets=(bytes(tables[0]), bytes(tables[1])) if tables[0] and tables[1] else None,
    )


def _stored(elements: Dataset) -> Stored:
    bits_stored = int(elements.BitsStored)
    if int(elements.get("HighBit", bits_stored - 1)) != bits_stored - 1:
        raise unreadable(
            f"its {bits_stored} stored bits do not begin at bit 0", hint="export it again"
        )
    return Stored(
        rows=int(elements.Rows),
        columns=int(elements.Columns),
        samples=int(elements.SamplesPerPixel),
        photometric=str(elements.PhotometricInterpretation),
        planar=int(elements.get("PlanarConfiguration") or 0),
        bits_allocated=int(elements.BitsAllocated),
        bits_stored=bits_stored,
        is_signed=bool(int(elements.get("PixelRepresentation") or 0)),
    )


def _matrix(elements: Dataset) -> Matrix:
    paths = int(
        elements.get("NumberOfOpticalPaths") or len(elements.get("OpticalPathSequence") or ()) or 1
    )
    corners = None
    if elements.get("DimensionOrganizationType") != "TILED_FULL":
        positions = [
            frame.PlanePositionSlideSequence[0]
            for frame in elements.PerFrameFunctionalGroupsSequence
        ]
        corners = tuple(
            (
                int(at.ColumnPositionInTotalImagePixelMatrix),
                int(at.RowPositionInTotalImagePixelMatrix),
            )
            for at in positions
        )
    return Matrix(
        width=int(elements.TotalPixelMatrixColumns),
        height=int(elements.TotalPixelMatrixRows),
        layers=paths * int(elements.get("TotalPixelMatrixFocalPlanes") or 1),
        corners=corners,
    )


def _spacing_mm(elements: Dataset) -> tuple[float, float] | None:
    """In x and y: DICOM gives the distance of rows, which is y, first; PS3.3 10.7.1.3."""
    for holder, keyword in (
        (group(elements, "PixelMeasuresSequence"), "PixelSpacing"),
        (elements, "PixelSpacing"),
        (elements, "ImagerPixelSpacing"),
    ):
        spacing = _several(holder.get(keyword))
        if len(spacing) == 2:
            return float(spacing[1]), float(spacing[0])
    return None


def _several(value: Any) -> Sequence[Any]:
    if value is None or isinstance(value, str):
        return (value,) if value else ()
    return tuple(value)


def _not_a_picture(sop_class: uid.UID) -> OrderError:
    kind = "an unknown kind of object" if sop_class.name == str(sop_class) else sop_class.name
    return OrderError(
        "not_a_slide",
        f"The DICOM file holds no picture: it is {kind}",
        hint="order the slide that it belongs to",
    )
