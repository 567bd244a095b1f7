"""Log lines as text or as JSON, one for each thing that happened, with the work it is about where there is one.

Owns how a line looks, and that no secret is in it, whoever wrote it. Must not know what is logged.
"""

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
_SECRETS: Final = (
    (re.compile(r"(?<=://)[^\s/@'\"]+@"), "…@"),  # a login in a URL
    (
        re.compile(r"(?<=[\w/%.~-])\?[^\s'\"<>()?]*=[^\s'\"<>()]*"),
        "?…",
    ),  # the query of a URL, presigned ones too
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), r"\1 …"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "…"),  # a JWT, wherever it stands
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `message`, what the line is about where that is given, and `trace` of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One object on one line."""
        line = _head(record) | {"message": _without_secrets(record.getMessage())} | _about(record)
        if record.exc_info:
            line["trace"] = _without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Time, level, logger and message, then what it is about as `name=value`. A trace follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; what a hostile text holds of line breaks makes no second one."""
        head, message = _head(record), _without_secrets(record.getMessage())
        about = "".join(f" {name}={_word(value)}" for name, value in _about(record).items())
        line = f"{head['time']} {head['level']:<8} {head['logger']}: {_CONTROL.sub(_escaped, message)}{about}"
        if record.exc_info:
            trace = _without_secrets(self.formatException(record.exc_info))
            line += "".join(f"\n    {_CONTROL.sub(_escaped, one)}" for one in trace.split("\n"))
        return line


def set_up(form: Form, level: int = logging.INFO) -> None:
    """Send everything to stderr in this form: warnings and what nobody caught too. Called once by each process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    apart = logging.getLogger(
        "multiprocessing"
    )  # billiard cuts it off from the root: what it says of dead children
    apart.handlers, apart.propagate = [handler], False
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _head(record: logging.LogRecord) -> dict[str, Any]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {"time": at, "level": record.levelname.lower(), "logger": record.name}


def _about(record: logging.LogRecord) -> dict[str, Any]:
    given = {name: getattr(record, name, None) for name in _FIELDS}
    return {name: value for name, value in given.items() if value is not None}


def _without_secrets(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _word(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[\s\"=]", text) else text


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log.critical("nobody caught this", exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value and not isinstance(told.exc_value, SystemExit):
        name = told.thread.name if told.thread else "a thread"
        _log.critical("nobody caught this in %s", name, exc_info=told.exc_value)
