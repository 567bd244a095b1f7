"""Removes known secrets from texts that others wrote, in every form in which programs repeat them.

The forms are: as it is, in upper or lower case, percent-encoded, escaped as in JSON or HTML, in
hex, and in base64, alone or within a longer text such as `user:password`.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from html.entities import codepoint2name
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

MASK: Final = "…"
_LEAST_CHARS: Final = 4
"""A shorter secret is looked for as it is only: its other forms are parts of ordinary words."""
_LEAST_BASE64_CHARS: Final = 6
_PART_CHARS: Final = 12
"""Of a secret of twice this length or more, its beginning and its end are looked for.

So one that is repeated in part is found, and the patterns stay small.
"""
_WORD: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=_-.~%\\")
"""Characters around a found part that belong to the same encoded text."""


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return the text with `…` in place of each secret, in whatever form.

    The time grows with the length of the text, whatever it holds.
    """
    known = sorted(filter(None, set(secrets)), key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, MASK)
    forms = [form for secret in known for form in _forms(secret)]
    if not forms:
        return text
    return _without_words(text, re.compile("|".join(forms), re.IGNORECASE))


def secrets_of_url(url: str) -> tuple[str, ...]:
    """Return what is secret in a URL: its login, its query, and each value of that."""
    parts = urlsplit(url)
    secrets = [parts.query]
    secrets += [value for _, value in parse_qsl(parts.query) if len(value) >= _LEAST_CHARS]
    login = parts.netloc.rpartition("@")[0]
    user, _, password = login.partition(":")
    # A login without a password is a token.
    secrets += [login, password or user]
    return tuple({*secrets, *map(unquote, secrets)} - {""})


def _without_words(text: str, pattern: re.Pattern[str]) -> str:
    """Return the text without the words in which the pattern is found."""
    kept = []
    position = 0
    for found in pattern.finditer(text):
        start = found.start()
        while start > position and text[start - 1] in _WORD:
            start -= 1
        end = found.end()
        if end <= position:
            continue
        while end < len(text) and text[end] in _WORD:
            end += 1
        kept += [text[position:start], MASK]
        position = end
    return "".join([*kept, text[position:]])


def _forms(secret: str) -> Iterator[str]:
    """Yield a pattern for each form of the secret."""
    if len(secret) < _LEAST_CHARS:
        return
    parts = [secret]
    if len(secret) >= 2 * _PART_CHARS:
        parts = [secret[:_PART_CHARS], secret[-_PART_CHARS:]]
    for part in parts:
        content = part.encode()
        yield "".join(map(_escaped, part))
        yield content.hex()
        yield from _base64_forms(content)


def _base64_forms(content: bytes) -> Iterator[str]:
    """Yield what is the same in base64 of any text that holds the content.

    A character of base64 holds 6 bits. The first and the last ones also hold bits of what is
    before and after; which ones depends on the place of the content, counted in threes.
    """
    for before in range(3):
        text = base64.b64encode(bytes(before) + content).decode()
        first = -(-before * 8 // 6)
        last = (before + len(content)) * 8 // 6
        whole = text[first:last]
        if len(whole) >= _LEAST_BASE64_CHARS:
            yield "".join(map(_base64_char, whole))


def _base64_char(char: str) -> str:
    """Return a pattern for a character of base64, with either alphabet and percent-encoded."""
    if char == "+":
        return "(?:[+-]|%2B)"
    if char == "/":
        return "(?:[/_]|%2F)"
    return char


def _escaped(char: str) -> str:
    """Return a pattern for a character as it is and as JSON, HTML and URLs escape it."""
    if char.isascii() and char.isalnum():
        return char
    number = ord(char)
    percent = "".join(f"%(?:25)?{byte:02x}" for byte in char.encode())
    ways = [re.escape(char), percent, rf"\\+{re.escape(char)}", rf"\\+u{number:04x}"]
    ways += [rf"\\+x{number:02x}", f"&#0*{number};", f"&#x0*{number:x};"]
    if number in codepoint2name:
        ways.append(f"&{codepoint2name[number]};")
    if char == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"
