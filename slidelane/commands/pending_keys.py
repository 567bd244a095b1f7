"""The idempotency keys of orders whose answer has not come yet, in a folder of this user.

A key is written before its order is sent and removed when the answer is there. So a command that is
repeated after a lost answer, or after it was killed, sends the same key and makes no second order;
one that is repeated after an answer makes a new order, as people mean it.
"""

import hashlib
import secrets
from contextlib import suppress
from pathlib import Path

from slidelane.commands.user_state import UserState, user_folder


class PendingKeys:
    """The keys by what is ordered where. Where no folder can be written, none is remembered."""

    def __init__(self, folder: Path) -> None:
        self._state = UserState(folder)

    @classmethod
    def of_user(cls) -> "PendingKeys":
        """Return those of this user."""
        return cls(user_folder("orders"))

    def begin(self, url: str, body: bytes) -> str:
        """Return the key of an order that is to be sent now: that of a lost one, or a new one."""
        name = _name(url, body)
        known = self._state.read(name)
        if known is not None:
            with suppress(ValueError):
                return _checked(known)
        key = secrets.token_hex(16)
        self._state.write(name, key)
        return key

    def end(self, url: str, body: bytes) -> None:
        """Forget the key: the service has answered."""
        self._state.remove(_name(url, body))


def _name(url: str, body: bytes) -> str:
    # A digest: the body may hold a presigned URL.
    return hashlib.sha256(url.encode() + b"\0" + body).hexdigest()


def _checked(key: str) -> str:
    """Return a key as this module makes them. Raise `ValueError` for a damaged file."""
    if len(bytes.fromhex(key)) != 16:
        raise ValueError("not a key of ours")
    return key
