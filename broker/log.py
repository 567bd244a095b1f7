"""Log lines as text or as JSON, one for each event. Removes secrets from every line."""

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal

Form = Literal["text", "json"]
_FIELDS: Final = ("work", "stage", "fence", "code", "step", "done", "total", "per_s", "eta_s")
"""What a record may hold in `extra`: which work the line is about, and how far it is."""

_SECRETS: Final = (
    # a login in a URL
    (re.compile(r"(?<=://)[^\s/@'\"]+@"), "…@"),
    # the query of a URL, which in a presigned one holds the signature
    (re.compile(r"(?<=[\w/%.~-])\?[^\s'\"<>()?]*=[^\s'\"<>()]*"), "?…"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), r"\1 …"),
    # a JSON web token
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "…"),
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, the fields that are given.

    An exception is in `trace`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line = _header(record)
        line["message"] = without_secrets(record.getMessage())
        line |= _fields(record)
        if record.exc_info:
            line["trace"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Time, level, logger and message, then the fields that are given as `name=value`.

    An exception follows in lines of its own, indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line: line breaks in a message are escaped."""
        header = _header(record)
        message = _CONTROL.sub(_escaped, without_secrets(record.getMessage()))
        line = f"{header['time']} {header['level']:<8} {header['logger']}: {message}"
        for name, value in _fields(record).items():
            line += f" {name}={_quoted(value)}"
        if record.exc_info:
            trace = without_secrets(self.formatException(record.exc_info))
            for trace_line in trace.split("\n"):
                line += "\n    " + _CONTROL.sub(_escaped, trace_line)
        return line


def set_up(form: Form, level: int = logging.INFO) -> None:
    """Write all log lines to stderr in this form, with warnings and uncaught exceptions.

    Each process calls this once, when it starts.
    """
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(TextLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # billiard cuts this logger off from the root; it tells of child processes that died
    billiard = logging.getLogger("multiprocessing")
    billiard.handlers = [handler]
    billiard.propagate = False
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _header(record: logging.LogRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {"time": time, "level": record.levelname.lower(), "logger": record.name}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {}
    for name in _FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            fields[name] = value
    return fields


def without_secrets(text: str) -> str:
    """Return the text without logins and queries of URLs, bearer tokens and JSON web tokens."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _quoted(value: object) -> str:
    """Return the value as one word: in quotes where it holds spaces, quotes or `=`."""
    text = str(value)
    if re.search(r"[\s\"=]", text):
        return json.dumps(text, ensure_ascii=False)
    return text


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log.critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is None or isinstance(failure.exc_value, SystemExit):
        return
    name = "a thread"
    if failure.thread:
        name = failure.thread.name
    _log.critical("uncaught exception in %s", name, exc_info=failure.exc_value)
