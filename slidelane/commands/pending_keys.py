"""The idempotency keys of orders whose answer has not come yet, in a folder of this user.

A key is written before its order is sent and removed when the answer is there. So a command that is
repeated after a lost answer, or after it was killed, sends the same key and makes no second order;
one that is repeated after an answer makes a new order, as people mean it.
"""

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_LIFE_S: Final = 86400.0
"""A repeated command after this is a new order; the service forgets keys later."""


class PendingKeys:
    """The keys by what is ordered where. Where no folder can be written, none is remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_user(cls) -> "PendingKeys":
        """Return those of this user: below XDG_STATE_HOME, `~/.local/state` by default."""
        state = os.environ.get("XDG_STATE_HOME")
        if state and Path(state).is_absolute():
            return cls(Path(state) / "slidelane" / "orders")
        with suppress(RuntimeError):  # nobody knows where the user's folder is
            return cls(Path.home() / ".local" / "state" / "slidelane" / "orders")
        return cls(Path(os.devnull))

    def begin(self, url: str, body: bytes) -> str:
        """Return the key of an order that is to be sent now: that of a lost one, or a new one."""
        file = self._file(url, body)
        with suppress(OSError, ValueError):
            if time.time() - file.stat().st_mtime < _LIFE_S:
                return _checked(file.read_text())
        key = secrets.token_hex(16)
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = file.with_suffix(f".{os.getpid()}")
            new.write_text(key)
            new.replace(file)
        return key

    def end(self, url: str, body: bytes) -> None:
        """Forget the key: the service has answered."""
        with suppress(OSError):
            self._file(url, body).unlink()

    def _file(self, url: str, body: bytes) -> Path:
        # A digest: the body may hold a presigned URL.
        return self._folder / hashlib.sha256(url.encode() + b"\0" + body).hexdigest()


def _checked(key: str) -> str:
    """Return a key as this module makes them. Raise `ValueError` for a damaged file."""
    if len(bytes.fromhex(key)) != 16:
        raise ValueError("not a key of ours")
    return key
