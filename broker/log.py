"""Log lines as text or as JSON, one for each event. Removes secrets from every line."""

import json
import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal

Form = Literal["text", "json"]
_FIELDS: Final = ("work", "stage", "fence", "code", "step", "done", "total", "per_s", "eta_s")
"""What a record may hold in `extra`: which work the line is about, and how far it is."""

_SECRETS: Final = (
    # a login in a URL
    (re.compile(r"(?<=://)[^\s/@'\"]+@"), "…@"),
    # a session in the path of a URL
    (re.compile(r"(?<=[;&?])(\w*sessionid|sid)=[^\s'\"<>()/?;&]+", re.IGNORECASE), r"\1=…"),
    # a login without one, as in `user:password@host`
    (re.compile(r"(?<![\w.+/:-])[\w.+-]{1,64}:[^\s:/@'\"]{1,256}@(?=\w)"), "…@"),
    # the query of a URL, which in a presigned one holds the signature
    (re.compile(r"(?<=[\w/%.~-])\?[^\s'\"<>()?]*=[^\s'\"<>()]*"), "?…"),
    (re.compile(r"(?<![a-z])(bearer|basic)(?:\s+|%20|\+)[\w.~+/=%-]{6,}", re.IGNORECASE), r"\1 …"),
    # a JSON web token, also in other case
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "…"),
    (re.compile(r"\beyj[\w-]{8,}\.[\w-]{8,}\.[\w-]*", re.IGNORECASE), "…"),
    # base64 that begins with such a token, `Bearer ` or `Basic `
    (re.compile(r"\b(?:ZXlK|QmVhcmVyI|QmFzaWMg)[\w+/=%-]{8,}"), "…"),
    # a value with a telling name, as in `api_key=…` or `"password": "…"`
    (
        re.compile(
            r"([\w-]{0,32}(?:passw|secret|token|api[_-]?key|jwt)[\w-]{0,32}"
            r"(?:['\"]\s{0,4}:\s{0,4}|=)['\"]?)[^\s'\",;&()<>]{4,}",
            re.IGNORECASE,
        ),
        r"\1…",
    ),
)
OUTAGE_CODE: Final = "store_unreachable"
"""The `code` of a record that tells that Redis does not answer."""
REDIS_IS_BACK: Final = "Redis answers again"
_OUTAGE_LINE_EVERY_S: Final = 60.0
_LIBRARIES_ON_REDIS: Final = ("celery", "kombu", "flower")
_CONNECTION_ERRORS: Final = ("ConnectionError", "TimeoutError", "OperationalError")
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


class OutageLines(logging.Filter):
    """Let one line a minute tell that Redis is away, and one that it is back.

    Each of our loops and each library tries again by itself, and tells it every time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._is_muted = False
        self._is_away = False
        self._said_away_at = -_OUTAGE_LINE_EVERY_S
        self._said_back_at = -_OUTAGE_LINE_EVERY_S
        self._said_at: dict[str, float] = {}

    def mute(self) -> None:
        """Let no such line pass any more, because another process writes them."""
        self._is_muted = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record; say in it that further ones are left out."""
        now = time.monotonic()
        with self._lock:
            if _tells_of_return(record):
                return self._passes_return(record, now)
            if _tells_of_outage(record):
                return self._passes_outage(record, now)
            if _follows_outage(record):
                return self._passes_consequence(record, now)
        return True

    def _passes_outage(self, record: logging.LogRecord, now: float) -> bool:
        if self._is_muted or now - self._said_away_at < _OUTAGE_LINE_EVERY_S:
            return False
        self._is_away = True
        self._said_away_at = now
        message = record.getMessage().strip()
        record.msg = f"{message} (while Redis is away, one such line a minute is written)"
        record.args = ()
        record.exc_info = None
        return True

    def _passes_return(self, record: logging.LogRecord, now: float) -> bool:
        was_away = self._is_away
        self._is_away = False
        if was_away:
            self._said_back_at = now
            return True
        if self._is_muted or record.msg == REDIS_IS_BACK:
            return False
        return now - self._said_back_at >= _OUTAGE_LINE_EVERY_S

    def _passes_consequence(self, record: logging.LogRecord, now: float) -> bool:
        """Let one line of each logger pass in a minute, and none soon after an outage."""
        if now - max(self._said_away_at, self._said_back_at) < _OUTAGE_LINE_EVERY_S:
            return False
        said_at = self._said_at.get(record.name)
        if said_at is not None and now - said_at < _OUTAGE_LINE_EVERY_S:
            return False
        self._said_at[record.name] = now
        return True


def _tells_of_outage(record: logging.LogRecord) -> bool:
    if getattr(record, "code", None) == OUTAGE_CODE:
        return True
    if record.name.partition(".")[0] not in _LIBRARIES_ON_REDIS:
        return False
    told: list[object] = []
    if isinstance(record.args, tuple):
        told += record.args
    if record.exc_info:
        told.append(record.exc_info[1])
    return any(_is_connection_error(value) for value in told)


def _is_connection_error(value: object) -> bool:
    """Recognize the errors of Redis' client, of kombu and of sockets by their names."""
    return isinstance(value, Exception) and any(
        kind.__name__ in _CONNECTION_ERRORS for kind in type(value).__mro__
    )


def _tells_of_return(record: logging.LogRecord) -> bool:
    if record.msg == REDIS_IS_BACK:
        return True
    is_celery = record.name == "celery.worker.consumer.connection"
    return is_celery and record.getMessage().startswith("Connected to")


def _follows_outage(record: logging.LogRecord) -> bool:
    """Return whether the line repeats for as long as workers are out of reach.

    Flower asks them every few seconds, and takes events that waited for clocks out of step.
    """
    return record.name in ("flower.inspector", "celery.events.state")


def mute_outages() -> None:
    """Leave it to another process to tell that Redis is away or back."""
    for handler in logging.getLogger().handlers:
        for outage_lines in handler.filters:
            if isinstance(outage_lines, OutageLines):
                outage_lines.mute()


def set_up(form: Form, level: int = logging.INFO) -> None:
    """Write all log lines to stderr in this form, with warnings and uncaught exceptions.

    Each process calls this once, when it starts.
    """
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(TextLines())
    handler.addFilter(OutageLines())
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


def one_line(text: str) -> str:
    """Return the text as one line, without secrets."""
    return " ".join(without_secrets(text).split())


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
