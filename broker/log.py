"""Log lines as JSON, one object a line, each with the work it is about where there is one."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_FIELDS = ("work", "leg", "fence", "code")


class JsonLines(logging.Formatter):
    """`at`, `level`, `logger`, `message`, and `work`, `leg`, `fence`, `code` where given."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(level: int = logging.INFO) -> None:
    """Send everything to stderr as JSON lines. Called once by each process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
