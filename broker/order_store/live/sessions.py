"""Sessions of browsers: who logged in with which API key, without the key or the session's token.

Redis forgets a session by itself once it was not used for a while. All processes of the API share
the sessions, and its clock is that of Redis.
"""

import json
from dataclasses import asdict, dataclass
from typing import Final

from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable

LIFE_S: Final = 8 * 3600
"""A session ends so long after its beginning, however much it is used."""
IDLE_S: Final = 3600
"""A session ends when it was not used for so long."""


@dataclass(frozen=True, slots=True)
class Session:
    """Which key a browser logged in with. `key_sha256` tells a key from a later one of its name."""

    key_name: str
    key_sha256: str


class Sessions(StoreBase):
    """Beginning, finding and ending sessions, each by the SHA-256 of its token in hex."""

    def begin_session(self, token_sha256: str, session: Session) -> None:
        """Store a session."""
        with reachable():
            ends_at_ms = self._now_ms() + LIFE_S * 1000
            text = json.dumps(asdict(session) | {"ends_at_ms": ends_at_ms})
            self._client.records.set(Key.SESSION + token_sha256, text, ex=IDLE_S)

    def find_session(self, token_sha256: str, *, is_use: bool = True) -> Session | None:
        """Return the session; None for one that ended or never was.

        With `is_use` the time begins anew after which an unused session ends.
        """
        key = Key.SESSION + token_sha256
        with reachable():
            pipeline = self._client.records.pipeline(transaction=False)
            pipeline.time()
            if is_use:
                pipeline.getex(key, ex=IDLE_S)
            else:
                pipeline.get(key)
            (seconds, microseconds), text = pipeline.execute()
        if not text:
            return None
        stored = json.loads(text)
        if seconds * 1000 + microseconds / 1000 >= stored.pop("ends_at_ms"):
            self.end_session(token_sha256)
            return None
        return Session(**stored)

    def end_session(self, token_sha256: str) -> None:
        """Forget a session, whether there is one or not."""
        with reachable():
            self._client.records.delete(Key.SESSION + token_sha256)
