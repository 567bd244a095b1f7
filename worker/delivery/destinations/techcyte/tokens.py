"""Tokens that API keys were exchanged for, kept while they are good."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Final

_MOST_TOKENS: Final = 256
_EARLY_S: Final = 30.0
"""A token is replaced so long before it ends, so that no request is under way when it does."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    good_until: float


class TokenCache:
    """One token for each host and API key; threads share the object.

    Techcyte's documents name no lifetime: a token is kept until it is refused, or until the time
    that the answer states.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tokens: OrderedDict[str, _Token] = OrderedDict()

    def get(self, key: str) -> str:
        """Return the token that is kept under the key of `cache_key`; empty without one."""
        with self._lock:
            token = self._tokens.get(key)
            if token is None or time.monotonic() >= token.good_until:
                return ""
            self._tokens.move_to_end(key)
            return token.text

    def put(self, key: str, text: str, lifetime_s: float) -> None:
        """Keep a token for its lifetime; the one that was not used for longest makes room."""
        with self._lock:
            self._tokens[key] = _Token(text, time.monotonic() + lifetime_s - _EARLY_S)
            self._tokens.move_to_end(key)
            while len(self._tokens) > _MOST_TOKENS:
                self._tokens.popitem(last=False)

    def forget(self, key: str, refused: str) -> None:
        """Drop a token that was refused, unless another thread has replaced it already."""
        with self._lock:
            token = self._tokens.get(key)
            if token is not None and token.text == refused:
                del self._tokens[key]


def cache_key(address: str, key_id: str, secret: str) -> str:
    """Return the name of an API key at a host in the cache; it does not hold the secret."""
    text = "\n".join((address, key_id, secret))
    return hashlib.sha256(text.encode()).hexdigest()
