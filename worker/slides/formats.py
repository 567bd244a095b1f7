"""The choice of a reader for a slide file, by its content. The only module that knows all readers.

OpenSlide is tried first. Other readers take what it does not know, some files that it refuses, and
DICOM slides whose files contradict what it would show.
"""

from pathlib import Path
from typing import Final

from broker.errors import OrderError
from worker.slides import signatures
from worker.slides.errors import (
    RegionNotFetchedError,
    SlideDecodingError,
    UnreadableSlideError,
)
from worker.slides.openslide_reader import OpenSlideReader, open_openslide, vendor_of
from worker.slides.partial import manifest
from worker.slides.partial.file_ranges import FileRangesReader
from worker.slides.partial.image_pieces import ImagePiecesReader
from worker.slides.reader import SlideReader

_APERIO: Final = "aperio"
_DICOM: Final = "dicom"
# Vendors whose tiles do not overlap. OpenSlide stitches the tiles of others; another reader would
# show those unstitched.
_VENDORS_WITHOUT_OVERLAP: Final = frozenset({_APERIO, _DICOM})

# Their slides are TIFFs in tiles, whose pages may contradict the tiles.
_TIFF_VENDORS: Final = frozenset({"leica", "philips", "trestle", "ventana"})


def open_reader(path: Path) -> SlideReader:
    """Return an open reader of the slide or image at `path`.

    One pixel is decoded, because some damage and unsupported compressions only show then.
    Raises `NotASlideError`, `UnreadableSlideError`.
    """
    with path.open("rb") as file:
        header = file.read(signatures.DICOM_HEADER_BYTES)
    if path.name == manifest.NAME and header.startswith(manifest.MARK):
        return open_partial(path)
    vendor = vendor_of(path)
    if vendor is None:
        return _open_without_openslide(path, header)
    try:
        slide = open_openslide(path, vendor)
        _decode_one_pixel(slide)
    except UnreadableSlideError as error:
        openslide_error = error
    else:
        return _best_reader(slide, vendor, path)
    if vendor not in _VENDORS_WITHOUT_OVERLAP:
        raise openslide_error
    try:
        return _open_without_openslide(path, header)
    except OrderError as error:
        raise _both_errors(openslide_error, error) from None


def open_partial(path: Path) -> SlideReader:
    """Return an open reader of the partial slide whose manifest is at `path`.

    Raises `NotASlideError`, `UnreadableSlideError`.
    """
    listing = manifest.read(path)
    if isinstance(listing, manifest.Pieces):
        return ImagePiecesReader(path.parent, listing)
    if listing.file == manifest.NAME:
        raise RegionNotFetchedError("its manifest names itself")
    file_reader = open_reader(path.parent / listing.file)
    try:
        return FileRangesReader(file_reader, listing)
    except BaseException:
        file_reader.close()
        raise


def _best_reader(slide: OpenSlideReader, vendor: str, path: Path) -> SlideReader:
    """Return the slide, or another reader of it that is faster or right where OpenSlide is not.

    Raises `UnreadableSlideError` where parts of the slide are missing.
    """
    if vendor == _DICOM:
        return _checked_dicom(slide, path)
    if vendor != _APERIO:
        _check_pages(slide, vendor, path)
        return slide
    # Tiles of JPEG that are laid out plainly can be decoded directly.
    from worker.slides.tiff.aperio import with_stored_tiles

    return with_stored_tiles(slide, path)


def _check_pages(slide: OpenSlideReader, vendor: str, path: Path) -> None:
    """Raise `UnreadableSlideError` where OpenSlide would show a TIFF wrongly."""
    if vendor not in _TIFF_VENDORS:
        return
    from worker.slides.tiff.openslide_pages import refuse_false_pixels

    try:
        refuse_false_pixels(path, vendor)
    except BaseException:
        slide.close()
        raise


def _checked_dicom(slide: OpenSlideReader, path: Path) -> SlideReader:
    """Return the slide, or pydicom's reader of it where OpenSlide would show it wrongly."""
    from worker.slides.dicom.checks import check_series

    try:
        checks = check_series(path)
    except BaseException:
        slide.close()
        raise
    slide.warnings = checks.warnings
    if checks.openslide_is_right:
        return slide
    slide.close()
    from worker.slides.dicom.reader import open_dicom

    reader = open_dicom(path)
    _decode_one_pixel(reader)
    return reader


def _open_without_openslide(path: Path, header: bytes) -> SlideReader:
    # A MIRAX slide's own file is a JPEG preview of it. Nobody orders an analysis of that.
    if path.suffix.lower() == ".mrxs":
        raise SlideDecodingError(
            "this is the small picture of a MIRAX slide, and its data files are missing",
            hint="give the folder of the same name with it: by path, or both in one zip by zip_url",
        )
    reader = _open_by_signature(path, header)
    _decode_one_pixel(reader)
    return reader


def _open_by_signature(path: Path, header: bytes) -> SlideReader:
    # Each decoder process opens one slide. Importing all readers would cost it half a second and
    # 20 MB, so a reader is imported when its format is found.
    if signatures.is_tiff(header):
        from worker.slides.tiff.reader import open_tiff

        return open_tiff(path)
    if signatures.is_dicom(header):
        from worker.slides.dicom.reader import open_dicom

        return open_dicom(path)
    from worker.slides.image_reader import open_image

    return open_image(path)


def _decode_one_pixel(reader: SlideReader) -> None:
    """Decode the first pixel inside of the slide's bounds; close the reader if that fails."""
    try:
        x = int(reader.properties.get("openslide.bounds-x", 0))
        y = int(reader.properties.get("openslide.bounds-y", 0))
        reader.read_region((x, y), 0, (1, 1))
    except BaseException:
        reader.close()
        raise


def _both_errors(
    openslide_error: UnreadableSlideError, other_error: OrderError
) -> UnreadableSlideError:
    """Return an error that states why OpenSlide and why the other reader refused the file."""
    detail = openslide_error.detail
    if other_error.code == openslide_error.code:
        detail = f"{detail}; {other_error.detail}"
    return UnreadableSlideError(detail, hint=openslide_error.hint)
