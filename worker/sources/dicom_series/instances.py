"""The DICOM files of one slide: whether they belong together, under which names they are kept, which one is opened.

Owns what makes two series the same slide. Must not know how the files came.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import OrderError
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.dicom.file import DicomFile, dicom_file, parsing
from worker.sources.request import FetchRequest

_WANTED: Final = (
    "ImageType", "SeriesInstanceUID", "Rows", "Columns", "TotalPixelMatrixColumns", "TotalPixelMatrixRows"
)  # fmt: skip
_LAST_TAG: Final = (
    0x00480007  # TotalPixelMatrixRows; optical paths and frame positions come later and may be long
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A DICOM file in the bundle: what the order calls it, where it lies, and the SHA-256 of its content."""

    called: str
    path: Path
    digest: str


@dataclass(frozen=True, slots=True)
class _Image:
    """What a file says of itself. `volume`: it shows the slide, and no label or overview of it."""

    path: Path
    digest: str
    series: str
    volume: bool
    pixels: int


def is_dicom(head: bytes) -> bool:
    """Whether content that begins with `head` is a DICOM file (PS3.10, 7.1), whatever its preamble looks like."""
    return head[128:132] == b"DICM"


def put(files: Sequence[Arrived], bundle: FileSet, errand: FetchRequest) -> LocalSlide:
    """Put the images among the files on the shelf as one slide.

    The same images are the same slide, in whatever order and by whatever way they came, once or twice. Raises
    `OrderError`: `not_a_slide` for no image, several series or several pictures, `slide_unreadable` for a broken file.
    """
    images = _images(files, errand)
    _refuse_others(images)
    for number, image in enumerate(images):
        image.path.rename(bundle.folder / f"{number:04}.dcm")
    main = max(
        range(len(images)), key=lambda number: (images[number].volume, images[number].pixels)
    )
    digest = hashlib.sha256("".join(image.digest for image in images).encode()).hexdigest()
    return errand.pins.enter_context(
        errand.means.shelf.put_bundle(bundle, f"{main:04}.dcm", digest)
    )


def _images(files: Sequence[Arrived], errand: FetchRequest) -> list[_Image]:
    """The images by their digests. Annotations and reports that come along are removed, and so is what came twice."""
    images: dict[str, _Image] = {}
    for number, file in enumerate(sorted(files, key=lambda file: file.digest)):
        errand.watch.progress("sorting", number, len(files))
        image = None if file.digest in images else _image(file)
        if image:
            images[file.digest] = image
        else:
            file.path.unlink()
    return list(images.values())


def _image(file: Arrived) -> _Image | None:
    try:
        with dicom_file(file.path, _WANTED, last=_LAST_TAG) as found:
            return _read(file, found)
    except OrderError as error:
        raise OrderError(error.code, f"{file.called}: {error.detail}", hint=error.hint) from None


def _read(file: Arrived, found: DicomFile) -> _Image | None:
    said = found.data_set
    with parsing():
        rows, columns = int(said.get("Rows") or 0), int(said.get("Columns") or 0)
        if not rows or not columns:
            return None
        rows = int(said.get("TotalPixelMatrixRows") or rows)
        columns = int(said.get("TotalPixelMatrixColumns") or columns)
        volume = [str(word) for word in said.get("ImageType") or ()][2:3] == ["VOLUME"]
        return _Image(
            file.path, file.digest, str(said.get("SeriesInstanceUID") or ""), volume, rows * columns
        )


def _refuse_others(images: Sequence[_Image]) -> None:
    """Raise unless the images are of one series and one slide. Its name is not repeated: it may lead to a patient."""
    counts = [str(count) for _, count in Counter(image.series for image in images).most_common()]
    if not counts:
        hint = "give the files of the whole-slide images themselves"
        raise OrderError("not_a_slide", "none of the DICOM files holds an image", hint=hint)
    if len(counts) > 1:
        detail = (
            f"the DICOM files are of {len(counts)} series, with {', '.join(counts[:10])} images"
        )
        raise OrderError("not_a_slide", detail, hint="order each series as a scan of its own")
    if len(images) > 1 and not any(image.volume for image in images):
        detail = f"none of the {len(images)} DICOM images is a VOLUME, so that they are several pictures and no slide"
        raise OrderError("not_a_slide", detail, hint="order each picture as a scan of its own")
