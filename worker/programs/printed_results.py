"""Results that an image of Techcyte's first generation prints in place of posting them (`DEV=1`).

Its template prints a Python dictionary after a few words; others print JSON.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any, Final

import orjson

from worker.results.techcyte_rules.posted import PostRefusedError, parse_posted

_MOST_TRIES: Final = 200
_MOST_LITERAL_CHARS: Final = 20_000_000
_BEGINS: Final = re.compile(r"\{(?=\s*['\"](?:caseResults|scanResults)['\"])")
_ANY_SCAN: Final = "test_scan"
"""What the template calls the scan where nobody tells it."""


def printed_results(output: Path, scan_id: str) -> bytes | None:
    """Return the last results in what a program has printed, as the body of a post.

    None where there are none. Raise `PostRefusedError` for results that break a rule.
    """
    text = output.read_text("utf-8", "replace")
    begins = [match.start() for match in _BEGINS.finditer(text)]
    for begin in reversed(begins[-_MOST_TRIES:]):
        found = _value_at(text, begin)
        if isinstance(found, dict) and "scanResults" in found:
            return _checked(found, scan_id)
    return None


def _checked(found: dict[str, Any], scan_id: str) -> bytes:
    try:
        body = orjson.dumps(found)
    except TypeError as error:
        raise PostRefusedError(f"what was printed is no JSON: {error}") from None
    posted = parse_posted(body)
    (scan, *others) = posted["scanResults"]
    if others or scan["scanId"] not in (scan_id, _ANY_SCAN):
        raise PostRefusedError(f"scanResults: results of the scan {scan_id!r} alone are expected")
    if scan["scanId"] == scan_id:
        return body
    return orjson.dumps({**posted, "scanResults": [{**scan, "scanId": scan_id}]})


def _value_at(text: str, begin: int) -> Any:
    """Return the value that begins at a brace, as JSON or as Python prints it; None for neither."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        line = text[begin:].partition("\n")[0]
        if len(line) > _MOST_LITERAL_CHARS:
            return None
        try:
            return ast.literal_eval(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value
