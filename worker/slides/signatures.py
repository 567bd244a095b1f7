"""What came, by its first bytes, whatever its name or content type say.

Tells a slide from the pages that servers send instead of one. Must not know how the bytes came.
"""

import codecs
import re
from typing import Final

from broker.errors import OrderError

_SLIDES: Final = (
    (re.compile(rb"II[*+]\0|MM\0[*+]"), ".tif"),  # TIFF and BigTIFF, which most slide formats are
    (re.compile(rb".{128}DICM", re.DOTALL), ".dcm"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n"), ".jp2"),
    (re.compile(rb"\xff\x4f\xff\x51"), ".j2k"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", re.DOTALL), ".bmp"),
    (re.compile(rb"ZISRAWFILE\0"), ".czi"),
    (re.compile(rb"SQLite format 3\0"), ".svslide"),
)
_ALONE: Final = "give the address of the slide file itself"
_TOGETHER: Final = "its data files are needed too: give a zip of them all as `zip_url`, or a `path`"
_ZIPPED: Final = "give a zip archive as `zip_url`, a slide as `url`"
_EXPORT: Final = "no reader here knows this format: export the slide as TIFF or DICOM"
_OTHERS: Final = (
    (re.compile(rb"PK(\x03\x04|\x05\x06)"), "a zip archive", _ZIPPED),
    (re.compile(rb"\x1f\x8b"), "a gzip archive", _ZIPPED),
    (re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|.{257}ustar", re.DOTALL), "an archive", _ZIPPED),
    (re.compile(rb"%PDF-"), "a PDF document", _ALONE),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.IGNORECASE), "an HTML page", _ALONE),
    (re.compile(rb"\s*<(\?xml[^>]{0,200}>\s*<)?DataObject "), "an iSyntax slide", _EXPORT),
    (re.compile(rb"[^\0]{0,400}\[(Uncompressed )?Virtual Microscope Specimen\]"), "the index of a Hamamatsu slide",
     _TOGETHER),
    (re.compile(rb"[^\0]{0,100}\[GENERAL\]\s[^\0]{0,400}SLIDE_"), "the index of a MIRAX slide", _TOGETHER),
)  # fmt: skip
_TEXTS: Final = (
    (re.compile(r"\s*<"), "an XML document"),
    (re.compile(r"\s*[{\[]"), "a JSON document"),
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def suffix(head: bytes, name: str = "") -> str:
    """The file suffix for content that begins with `head` (the first 1024 bytes, or all); `.bin` when unknown.

    `name` is what its source calls it. Raises `OrderError("not_a_slide")` that tells what it looks like; an unknown
    binary is left for the readers to judge.
    """
    kind = next((slide_suffix for pattern, slide_suffix in _SLIDES if pattern.match(head)), "")
    if kind == ".jpg" and name.lower().endswith(".mrxs"):
        raise _refused("the preview of a MIRAX slide", _TOGETHER)
    if not kind:
        _refuse_other(head)
    return kind or ".bin"


def _refuse_other(head: bytes) -> None:
    if not head:
        raise _refused("an empty file", _ALONE)
    for pattern, what, hint in _OTHERS:
        if pattern.match(head):
            raise _refused(what, hint)
    text = _text(head)
    if text is not None:
        raise _refused(
            next((what for pattern, what in _TEXTS if pattern.match(text)), "plain text"), _ALONE
        )


def _refused(what: str, hint: str) -> OrderError:
    return OrderError("not_a_slide", f"what came is {what}, not a slide", hint=hint)


def _text(head: bytes) -> str | None:
    """The bytes as text, None when they are none. A character cut at the end does no harm."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text
