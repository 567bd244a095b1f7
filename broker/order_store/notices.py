"""Calls of webhooks that are due because an order ended, and which webhooks are called no more.

The notice is written by the same script that ends the order, so none is lost. It is taken under a
lease: of a courier that dies over a call, another one takes the notice later.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable

_LEASE_MS: Final = 180_000


@dataclass(frozen=True, slots=True)
class Notice:
    """One call that is due: the order `order_id` ended, by the event `event`."""

    order_id: str
    event: str

    @property
    def name(self) -> str:
        """Return what the record calls it."""
        return f"{self.order_id} {self.event}"


class Notices(StoreBase):
    """Taking and ending notices, and remembering webhooks that are gone."""

    def take_notice(self) -> Notice | None:
        """Return a notice that is due and that nobody else gets for three minutes, or None."""
        name = str(self._client.run("take_notice", _LEASE_MS))
        if not name:
            return None
        order_id, _, event = name.partition(" ")
        return Notice(order_id, event)

    def end_notice(self, notice: Notice, log: str = "") -> None:
        """Forget a notice that is done or hopeless. `log`: a line for the log of its order."""
        self._client.run("end_notice", notice.name, "", log)

    def postpone_notice(self, notice: Notice, delay_s: float, log: str = "") -> None:
        """Make the notice due again after `delay_s`."""
        self._client.run("end_notice", notice.name, int(delay_s * 1000), log)

    def is_gone(self, url: str) -> bool:
        """Return whether the webhook answered 410, so that it is called no more."""
        with reachable():
            return bool(self._client.records.exists(_gone_key(url)))

    def mark_gone(self, url: str) -> None:
        """Remember for `broker.keep_s` that the webhook answered 410."""
        with reachable():
            self._client.records.set(_gone_key(url), "410", ex=max(1, int(self._settings.keep_s)))

    def forget_gone(self, url: str) -> None:
        """Let the webhook be called again."""
        with reachable():
            self._client.records.delete(_gone_key(url))


def _gone_key(url: str) -> str:
    """Return the key of a URL, which is not stored itself: it may hold a secret."""
    return Key.GONE + hashlib.sha256(url.encode()).hexdigest()
