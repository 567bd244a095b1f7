"""Kinds of files by their first bytes, whatever their name or content type is.

Tells a slide from the pages and archives that servers send instead of one.
"""

import codecs
import re
from typing import Final

from worker.slides.errors import NotASlideError

TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""TIFF and BigTIFF in both byte orders. Most slide formats are TIFFs."""
PNG: Final = b"\x89PNG\r\n\x1a\n"
JPEG: Final = b"\xff\xd8\xff"
JPEG_2000_FILE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
JPEG_2000_CODESTREAM: Final = b"\xff\x4f\xff\x51"
"""The start of a JPEG 2000 codestream and its size marker, also inside of a JP2 file."""
ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""The start of a zip archive with files, and of one without."""
RIFF: Final = b"RIFF"
BMP: Final = b"BM"
DICOM_HEADER_BYTES: Final = 132
"""How much of a file `is_dicom` must see."""

_DICOM: Final = b"DICM"
_DICOM_PREAMBLE_BYTES: Final = DICOM_HEADER_BYTES - len(_DICOM)
_OTHER_SLIDES: Final = (
    (re.compile(re.escape(PNG)), ".png"),
    (re.compile(re.escape(JPEG)), ".jpg"),
    (re.compile(re.escape(JPEG_2000_FILE)), ".jp2"),
    (re.compile(re.escape(JPEG_2000_CODESTREAM)), ".j2k"),
    (re.compile(RIFF + rb".{4}WEBP", re.DOTALL), ".webp"),
    (re.compile(BMP + rb".{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", re.DOTALL), ".bmp"),
    (re.compile(rb"ZISRAWFILE\0"), ".czi"),
    (re.compile(rb"SQLite format 3\0"), ".svslide"),
)
_SEND_SLIDE: Final = "give the address of the slide file itself"
_SEND_ALL_FILES: Final = (
    "its data files are needed too: give a zip of them all as `zip_url`, or a `path`"
)
_USE_ZIP_URL: Final = "give a zip archive as `zip_url`, a slide as `url`"
_EXPORT: Final = "no reader here knows this format: export the slide as TIFF or DICOM"
_ARCHIVE: Final = re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|.{257}ustar", re.DOTALL)
_HTML: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.IGNORECASE)
_ISYNTAX: Final = re.compile(rb"\s*<(\?xml[^>]{0,200}>\s*<)?DataObject ")
_VMS: Final = re.compile(rb"[^\0]{0,400}\[(Uncompressed )?Virtual Microscope Specimen\]")
_SLIDEDAT: Final = re.compile(rb"[^\0]{0,100}\[GENERAL\]\s[^\0]{0,400}SLIDE_")
_NOT_OTHER_SLIDES: Final = (
    (re.compile(b"|".join(map(re.escape, ZIP))), "a zip archive", _USE_ZIP_URL),
    (re.compile(rb"\x1f\x8b"), "a gzip archive", _USE_ZIP_URL),
    (_ARCHIVE, "an archive", _USE_ZIP_URL),
    (re.compile(rb"%PDF-"), "a PDF document", _SEND_SLIDE),
    (_HTML, "an HTML page", _SEND_SLIDE),
    (_ISYNTAX, "an iSyntax slide", _EXPORT),
    (_VMS, "the index of a Hamamatsu slide", _SEND_ALL_FILES),
    (_SLIDEDAT, "the index of a MIRAX slide", _SEND_ALL_FILES),
)
_TEXTS: Final = (
    (re.compile(r"\s*<"), "an XML document"),
    (re.compile(r"\s*[{\[]"), "a JSON document"),
)
_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def is_tiff(header: bytes) -> bool:
    """Return whether a file that begins with `header` is a TIFF or BigTIFF."""
    return header.startswith(TIFF)


def is_dicom(header: bytes) -> bool:
    """Return whether a file that begins with `header` is a DICOM file; PS3.10 7.1."""
    return header[_DICOM_PREAMBLE_BYTES:DICOM_HEADER_BYTES] == _DICOM


def suffix(head: bytes, name: str = "") -> str:
    """Return the file suffix of content that begins with `head`, `.bin` where it is unknown.

    `head` holds the first 1024 bytes, or all; `name` is what the source calls the file.
    Raises `NotASlideError` that names what the content looks like. Unknown binary content is left
    for the readers to judge.
    """
    slide_suffix = _slide_suffix(head)
    if slide_suffix == ".jpg" and name.lower().endswith(".mrxs"):
        raise _refused("the preview of a MIRAX slide", _SEND_ALL_FILES)
    if slide_suffix:
        return slide_suffix
    _refuse_known_content(head)
    return ".bin"


def _slide_suffix(header: bytes) -> str:
    if is_tiff(header):
        return ".tif"
    if is_dicom(header):
        return ".dcm"
    for pattern, slide_suffix in _OTHER_SLIDES:
        if pattern.match(header):
            return slide_suffix
    return ""


def _refuse_known_content(header: bytes) -> None:
    if not header:
        raise _refused("an empty file", _SEND_SLIDE)
    for pattern, kind, hint in _NOT_OTHER_SLIDES:
        if pattern.match(header):
            raise _refused(kind, hint)
    text = _as_text(header)
    if text is not None:
        raise _refused(_kind_of_text(text), _SEND_SLIDE)


def _refused(kind: str, hint: str) -> NotASlideError:
    return NotASlideError(f"what came is {kind}, not a slide", hint=hint)


def _kind_of_text(text: str) -> str:
    for pattern, kind in _TEXTS:
        if pattern.match(text):
            return kind
    return "plain text"


def _as_text(header: bytes) -> str | None:
    """Return the bytes as text, None if they are binary. The last character may be incomplete."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(header)
    except UnicodeDecodeError:
        return None
    if _CONTROL_CHARACTERS.search(text):
        return None
    return text
