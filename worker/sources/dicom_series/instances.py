"""The DICOM files of one slide: whether they belong together, and which of them is opened."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import OrderError
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.dicom.file import DicomFile, dicom_file, parsing
from worker.slides.errors import NotASlideError

_ATTRIBUTES: Final = (
    "ImageType",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixRows",
)
_LAST_TAG: Final = 0x00480007
"""TotalPixelMatrixRows; what comes after it, optical paths and frame positions, may be long."""


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A DICOM file in the file set.

    `shown_name`: how errors call it. `digest`: the SHA-256 of its content. `etag`: its strong ETag,
    or empty.
    """

    shown_name: str
    path: Path
    digest: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class _Image:
    """What a file states.

    `is_volume`: it shows the slide itself, not a label or an overview of it.
    """

    path: Path
    digest: str
    series_uid: str
    is_volume: bool
    area_px2: int


def put_into_cache(
    files: Sequence[DownloadedFile],
    file_set: FileSet,
    cache: SlideCache,
    pins: ExitStack,
    progress: Progress,
) -> LocalSlide:
    """Put the images among the files into the cache as one slide, pinned until `pins` closes.

    The same images are the same slide, in whatever order and from whatever source, also where some
    come twice. Raises `NotASlideError` for no image, several series or several pictures,
    `UnreadableSlideError` for a damaged file.
    """
    images = _images(files, progress)
    _check_one_slide(images)
    main = 0
    for number, image in enumerate(images):
        image.path.rename(file_set.folder / f"{number:04}.dcm")
        if (image.is_volume, image.area_px2) > (images[main].is_volume, images[main].area_px2):
            main = number
    digest = hashlib.sha256("".join(image.digest for image in images).encode()).hexdigest()
    return pins.enter_context(cache.put_file_set(file_set, f"{main:04}.dcm", digest))


def _images(files: Sequence[DownloadedFile], progress: Progress) -> list[_Image]:
    """Return the images, ordered by their digests.

    Annotations, reports and duplicates are deleted.
    """
    images: dict[str, _Image] = {}
    for number, file in enumerate(sorted(files, key=lambda file: file.digest)):
        progress.report("sorting", number, len(files))
        image = None
        if file.digest not in images:
            image = _image(file)
        if image:
            images[file.digest] = image
        else:
            file.path.unlink()
    return list(images.values())


def _image(file: DownloadedFile) -> _Image | None:
    try:
        with dicom_file(file.path, _ATTRIBUTES, last=_LAST_TAG) as opened:
            return _parse(file, opened)
    except OrderError as error:
        detail = f"{file.shown_name}: {error.detail}"
        raise OrderError(error.code, detail, hint=error.hint) from None


def _parse(file: DownloadedFile, opened: DicomFile) -> _Image | None:
    attributes = opened.data_set
    with parsing():
        rows = int(attributes.get("Rows") or 0)
        columns = int(attributes.get("Columns") or 0)
        if not rows or not columns:
            return None
        rows = int(attributes.get("TotalPixelMatrixRows") or rows)
        columns = int(attributes.get("TotalPixelMatrixColumns") or columns)
        image_type = [str(value) for value in attributes.get("ImageType") or ()]
        return _Image(
            path=file.path,
            digest=file.digest,
            series_uid=str(attributes.get("SeriesInstanceUID") or ""),
            is_volume=image_type[2:3] == ["VOLUME"],
            area_px2=rows * columns,
        )


def _check_one_slide(images: Sequence[_Image]) -> None:
    """Raise `NotASlideError` unless the images are of one series and one slide.

    The UID of the series is not part of the error: it may lead to a patient.
    """
    if not images:
        raise NotASlideError(
            "none of the DICOM files holds an image",
            hint="give the files of the whole-slide images themselves",
        )
    images_by_series = Counter(image.series_uid for image in images)
    if len(images_by_series) > 1:
        counts = ", ".join(str(count) for _, count in images_by_series.most_common(10))
        raise NotASlideError(
            f"the DICOM files are of {len(images_by_series)} series, with {counts} images",
            hint="order each series as a scan of its own",
        )
    if len(images) > 1 and not any(image.is_volume for image in images):
        raise NotASlideError(
            f"none of the {len(images)} DICOM images is a VOLUME, "
            "so that they are several pictures and no slide",
            hint="order each picture as a scan of its own",
        )
