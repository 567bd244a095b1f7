"""What came, by its first bytes, whatever its name or content type say.

Tells a slide from the pages that servers send instead of one. Must not know how the bytes came.
"""

import codecs
import re

from broker.errors import OrderError

_SLIDES = (
    (re.compile(rb"II[*+]\0|MM\0[*+]"), ".tif"),  # TIFF and BigTIFF, which most slide formats are
    (re.compile(rb".{128}DICM", re.DOTALL), ".dcm"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
)
_OTHERS = (
    (re.compile(rb"(PK\x03\x04|PK\x05\x06)"), "a zip archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.IGNORECASE), "an HTML page"),
)
_TEXTS = ((re.compile(r"\s*<"), "an XML document"), (re.compile(r"\s*[{\[]"), "a JSON document"))
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def suffix(head: bytes) -> str:
    """The file suffix for content that begins with `head` (the first 1024 bytes, or all); `.bin` when unknown.

    Raises `OrderError("not_a_slide")` that names what it looks like; an unknown binary is left for OpenSlide to judge.
    """
    for pattern, slide_suffix in _SLIDES:
        if pattern.match(head):
            return slide_suffix
    other = _other(head)
    if other:
        hint = "give the address of the slide file itself"
        raise OrderError("not_a_slide", f"what came is {other}, not a slide", hint=hint)
    return ".bin"


def _other(head: bytes) -> str:
    if not head:
        return "an empty file"
    for pattern, name in _OTHERS:
        if pattern.match(head):
            return name
    text = _text(head)
    if text is None:
        return ""
    return next((name for pattern, name in _TEXTS if pattern.match(text)), "plain text")


def _text(head: bytes) -> str | None:
    """The bytes as text, None when they are none. A character cut at the end does no harm."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text
