"""Calls of an engine's client, and what it means when they fail."""

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from broker.errors import OrderError
from broker.settings.config import PREFIX

_CALL_S: Final = 60.0
_MOST_CHARS: Final = 300


class EngineError(Exception):
    """The engine says no; the message is its last line."""


def client_environment() -> dict[str, str]:
    """Return the environment of an engine's client: the worker's, without our settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def call(argv: Sequence[str], timeout_s: float = _CALL_S) -> str:
    """Return what the client prints. Raises EngineError."""
    try:
        done = subprocess.run(
            argv,
            env=client_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise EngineError(f"{argv[0]} cannot be executed: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"it did not answer within {timeout_s:g} s") from None
    if done.returncode:
        raise EngineError(_last_line(done.stderr) or f"exit status {done.returncode}")
    return done.stdout.decode("utf-8", "replace").strip()


def unavailable(detail: str, hint: str) -> OrderError:
    """Return the error of an image that cannot be run."""
    return OrderError("algorithm_unavailable", detail, hint=hint, blame="platform")


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return ""
    return lines[-1].strip()[:_MOST_CHARS]
