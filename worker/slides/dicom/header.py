"""The metadata of a DICOM image, as plain checked values.

Knows which elements matter and which of them come first. Reads nothing about the patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom import uid
from pydicom.dataset import Dataset

from worker.slides.dicom.file import DicomFile, PixelData, parsing
from worker.slides.errors import NotASlideError, UnreadableDicomError

LOOKUP_TABLE_KEYWORDS: Final = (
    "BitsStored", "ModalityLUTSequence", "PhotometricInterpretation", "PixelRepresentation",
    "RescaleIntercept", "RescaleSlope", "VOILUTFunction", "VOILUTSequence",
    "WindowCenter", "WindowWidth",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip
"""The elements that define which color a stored value is shown in."""

KEYWORDS: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "ConcatenationUID",
    "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "HighBit", "PlanarConfiguration",
    "NumberOfFrames", "TotalPixelMatrixColumns", "TotalPixelMatrixRows",
    "DimensionOrganizationType", "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths",
    "OpticalPathSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelSpacing", "ImagerPixelSpacing", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    *LOOKUP_TABLE_KEYWORDS,
)  # fmt: skip
"""All elements that are read."""

_MAX_FRAMES: Final = 2**22
_PIXEL_DATA: Final = 0x7FE00010
_NOT_IMAGES: Final = frozenset(
    {
        uid.SegmentationStorage,
        uid.ParametricMapStorage,
        uid.RTDoseStorage,
        "1.2.840.10008.5.1.4.1.1.66.7",  # label maps, which pydicom does not know yet
    }
)


@dataclass(frozen=True, slots=True)
class PixelFormat:
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
class PixelMatrix:
    """The total pixel matrix of one level, and how its frames lie in it; PS3.3 C.8.12.4.

    `layers` counts focal planes and optical paths. `corners` holds the 1-based column and row of
    each frame's first pixel; it is None if the frames fill the matrix row by row.
    """

    width: int
    height: int
    layers: int
    corners: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True, slots=True)
class Header:
    """The metadata of one file.

    `spacing_mm` is the distance of pixel centers in x and y. `extended_offsets` holds the values of
    the extended offset table and its lengths, undecoded.
    """

    sop_class: uid.UID
    instance: str
    series: str
    syntax: uid.UID
    image_type: tuple[str, ...]
    is_part: bool
    frames: int
    pixels: PixelData
    pixel_format: PixelFormat
    matrix: PixelMatrix | None
    spacing_mm: tuple[float, float] | None
    extended_offsets: tuple[bytes, bytes] | None

    @property
    def is_slide(self) -> bool:
        """Whether the file is a whole slide or one level of it."""
        return self.sop_class == uid.VLWholeSlideMicroscopyImageStorage


def read_header(file: DicomFile) -> Header:
    """Return the metadata of an open file.

    Raises `NotASlideError` if it holds no image, `UnreadableSlideError`.
    """
    with parsing():
        sop_class = uid.UID(file.data_set.SOPClassUID)
        if file.pixels is None or file.pixels.tag != _PIXEL_DATA or sop_class in _NOT_IMAGES:
            raise _not_an_image(sop_class)
        header = _header(file, sop_class, file.pixels)
    if not 0 < header.frames <= _MAX_FRAMES:
        raise UnreadableDicomError(f"it has {header.frames} frames; at most {_MAX_FRAMES} are read")
    return header


def functional_group(data_set: Dataset, keyword: str) -> Dataset:
    """Return the first item of a functional group; PS3.3 C.7.6.16.

    The group that holds for all frames comes before that of the first frame. Returns an empty
    data set if there is neither.
    """
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups: Sequence[Dataset] = data_set.get(sequence) or ()
        if groups:
            items: Sequence[Dataset] = groups[0].get(keyword) or ()
            if items:
                return items[0]
    return Dataset()


def image_type_of(elements: Dataset) -> tuple[str, ...]:
    """Return the values of ImageType."""
    return tuple(str(value) for value in _values(elements.get("ImageType")))


def spacing_mm_of(elements: Dataset) -> tuple[float, float] | None:
    """Return the distance of pixel centers in x and y.

    DICOM states the distance of rows, which is y, first; PS3.3 10.7.1.3.
    """
    for holder, keyword in (
        (functional_group(elements, "PixelMeasuresSequence"), "PixelSpacing"),
        (elements, "PixelSpacing"),
        (elements, "ImagerPixelSpacing"),
    ):
        spacing = _values(holder.get(keyword))
        if len(spacing) == 2:
            return float(spacing[1]), float(spacing[0])
    return None


def _header(file: DicomFile, sop_class: uid.UID, pixels: PixelData) -> Header:
    elements = file.data_set
    matrix = None
    if sop_class == uid.VLWholeSlideMicroscopyImageStorage:
        matrix = _matrix(elements)
    return Header(
        sop_class=sop_class,
        instance=str(elements.get("SOPInstanceUID", "")),
        series=str(elements.get("SeriesInstanceUID", "")),
        syntax=file.syntax,
        image_type=image_type_of(elements),
        is_part="ConcatenationUID" in elements,
        frames=int(elements.get("NumberOfFrames") or 1),
        pixels=pixels,
        pixel_format=_pixel_format(elements),
        matrix=matrix,
        spacing_mm=spacing_mm_of(elements),
        extended_offsets=_extended_offsets(elements),
    )


def _extended_offsets(elements: Dataset) -> tuple[bytes, bytes] | None:
    offsets = elements.get("ExtendedOffsetTable")
    lengths = elements.get("ExtendedOffsetTableLengths")
    if not offsets or not lengths:
        return None
    return bytes(offsets), bytes(lengths)


def _pixel_format(elements: Dataset) -> PixelFormat:
    bits_stored = int(elements.BitsStored)
    if int(elements.get("HighBit", bits_stored - 1)) != bits_stored - 1:
        raise UnreadableDicomError(
            f"its {bits_stored} stored bits do not begin at bit 0", hint="export it again"
        )
    return PixelFormat(
        rows=int(elements.Rows),
        columns=int(elements.Columns),
        samples=int(elements.SamplesPerPixel),
        photometric=str(elements.PhotometricInterpretation),
        planar=int(elements.get("PlanarConfiguration") or 0),
        bits_allocated=int(elements.BitsAllocated),
        bits_stored=bits_stored,
        is_signed=bool(int(elements.get("PixelRepresentation") or 0)),
    )


def _matrix(elements: Dataset) -> PixelMatrix:
    listed_paths = len(elements.get("OpticalPathSequence") or ())
    optical_paths = int(elements.get("NumberOfOpticalPaths") or listed_paths or 1)
    focal_planes = int(elements.get("TotalPixelMatrixFocalPlanes") or 1)
    corners = None
    if elements.get("DimensionOrganizationType") != "TILED_FULL":
        corners = _frame_corners(elements)
    return PixelMatrix(
        width=int(elements.TotalPixelMatrixColumns),
        height=int(elements.TotalPixelMatrixRows),
        layers=optical_paths * focal_planes,
        corners=corners,
    )


def _frame_corners(elements: Dataset) -> tuple[tuple[int, int], ...]:
    """Return the 1-based column and row of each frame's first pixel."""
    corners = []
    for frame in elements.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSlideSequence[0]
        column = int(position.ColumnPositionInTotalImagePixelMatrix)
        row = int(position.RowPositionInTotalImagePixelMatrix)
        corners.append((column, row))
    return tuple(corners)


def _values(value: Any) -> Sequence[Any]:
    """Return an element's value as a sequence, whether it has none, one or several."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(value)


def _not_an_image(sop_class: uid.UID) -> NotASlideError:
    kind = sop_class.name
    if kind == str(sop_class):
        kind = "an unknown kind of object"
    return NotASlideError(
        f"The DICOM file holds no picture: it is {kind}",
        hint="order the slide that it belongs to",
    )
