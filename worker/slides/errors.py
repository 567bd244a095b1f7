"""Errors of slide files: a class for each error code, and one for each kind of file that is read.

A class states how its message begins and the hint that it carries where no better one is passed.
"""

from typing import Final

from broker.errors import OrderError

_SEND_WHOLE_FILE: Final = "see that the source gives the slide itself, whole"
_OPEN_IN_VIEWER: Final = (
    "see that the file opens in a viewer; if it does not, send it or export it again"
)
_OPEN_IN_DICOM_VIEWER: Final = (
    "see that the file opens in a DICOM viewer; if it does not, send it or export it again"
)
_OPEN_IMAGE_IN_VIEWER: Final = "see that the file is whole and opens in a viewer"
_SAVE_AS_RGB_PYRAMID: Final = (
    "see that the file is whole; if it opens in a viewer, save it as a tiled pyramid in 8-bit RGB"
)
_ORDER_REGION_AGAIN: Final = (
    "order the region again; it is then fetched for the algorithm as it is now"
)
_CHECK_IMAGE_SERVER: Final = "see that the server serves this region in a viewer, and order again"
_ORDER_SLIDE_ITSELF: Final = "order the slide itself; manifests are written by the fetch alone"


class NotASlideError(OrderError):
    """The file is neither a slide nor an image that can be read. Code: `not_a_slide`."""

    def __init__(self, detail: str, *, hint: str = _SEND_WHOLE_FILE) -> None:
        super().__init__("not_a_slide", detail, hint=hint)


class UnreadableSlideError(OrderError):
    """The slide is damaged, or of a kind that is not supported. Code: `slide_unreadable`."""

    def __init__(self, detail: str, *, hint: str = _OPEN_IN_VIEWER) -> None:
        super().__init__("slide_unreadable", detail, hint=hint)


class SlideDecodingError(UnreadableSlideError):
    """The slide cannot be decoded, whatever its format."""

    def __init__(self, reason: str, *, hint: str = _OPEN_IN_VIEWER) -> None:
        super().__init__(f"The slide cannot be read: {reason}", hint=hint)


class UnreadableTiffError(UnreadableSlideError):
    """A TIFF is damaged, or stored in a way that is not supported."""

    def __init__(self, reason: str, *, hint: str = _SAVE_AS_RGB_PYRAMID) -> None:
        super().__init__(f"The TIFF cannot be read: {reason}", hint=hint)


class UnreadableDicomError(UnreadableSlideError):
    """A DICOM file is damaged, or of a kind that is not supported."""

    def __init__(self, reason: str, *, hint: str = _OPEN_IN_DICOM_VIEWER) -> None:
        super().__init__(f"The DICOM file cannot be read: {reason}", hint=hint)


class UnreadableImageError(UnreadableSlideError):
    """A plain image (PNG, JPEG, …) is damaged, or of a kind that is not supported."""

    def __init__(self, reason: str, *, hint: str = _OPEN_IMAGE_IN_VIEWER) -> None:
        super().__init__(f"The picture cannot be decoded: {reason}", hint=hint)


class RegionNotFetchedError(UnreadableSlideError):
    """Pixels were requested that were never fetched to this machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Only a part of the slide is here: {reason}", hint=_ORDER_REGION_AGAIN)


class UnreadableImagePieceError(UnreadableSlideError):
    """An image that an image server returned cannot be decoded."""

    def __init__(self, reason: str) -> None:
        detail = f"What the image server gave cannot be read: {reason}"
        super().__init__(detail, hint=_CHECK_IMAGE_SERVER)


class DamagedManifestError(UnreadableSlideError):
    """The manifest of a partial slide has another shape than it must have."""

    def __init__(self, name: str, reason: str) -> None:
        detail = f"The manifest {name} of a partial slide is damaged: {reason}"
        super().__init__(detail, hint=_ORDER_SLIDE_ITSELF)
