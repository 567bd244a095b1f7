"""Bounds how often a login may be tried, in the memory of this process."""

import time
from collections import OrderedDict
from threading import Lock
from typing import Final

from starlette.requests import HTTPConnection

from broker.errors import TemporaryError

WRONG_A_MINUTE: Final = 5
"""Wrong keys from one address; a right one is not counted."""
OF_A_PEER: Final = 60
"""All tries over one TCP address: behind a proxy that of all callers, whose own it only claims."""
_MINUTE_S: Final = 60.0
_MOST_ADDRESSES: Final = 10_000


class LoginTries:
    """Counts tries by address. Threads share it.

    Of more than 10,000 addresses within a minute, those that tried longest ago are forgotten.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tries: OrderedDict[str, list[float]] = OrderedDict()

    def begin(self, connection: HTTPConnection) -> None:
        """Count a try. Raise `TemporaryError("too_many_logins")`."""
        peer, address = _addresses(connection)
        now = time.monotonic()
        with self._lock:
            self._check(address, WRONG_A_MINUTE, now)
            self._check(peer, OF_A_PEER, now)
            self._note(address, now)
            self._note(peer, now)

    def forgive(self, connection: HTTPConnection) -> None:
        """Do not count the last try against its address: its key was right."""
        _, address = _addresses(connection)
        with self._lock:
            recent = self._tries.pop(address, [])[:-1]
            if recent:
                self._tries[address] = recent

    def _check(self, address: str, most: int, now: float) -> None:
        recent = [at for at in self._tries.get(address, ()) if now - at < _MINUTE_S]
        if len(recent) < most:
            return
        raise TemporaryError(
            "too_many_logins",
            f"{len(recent)} tries to log in within a minute",
            hint="wait as long as Retry-After says",
            retry_after_s=_MINUTE_S - (now - recent[-most]),
        )

    def _note(self, address: str, now: float) -> None:
        recent = [at for at in self._tries.pop(address, ()) if now - at < _MINUTE_S]
        self._tries[address] = [*recent, now]
        while len(self._tries) > _MOST_ADDRESSES:
            self._tries.popitem(last=False)


def _addresses(connection: HTTPConnection) -> tuple[str, str]:
    """Return the TCP address, and that of the caller as the nearest proxy states it."""
    peer = ""
    if connection.client is not None:
        peer = connection.client.host
    forwarded = connection.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()[:64]
    return f"peer {peer}", f"{peer} {forwarded}"
