"""Where orders are kept: the only part that speaks Redis. What changes a state is one Lua script in `lua/`.

Every method of `OrderStore` may raise `TemporaryError("store_unreachable")`: the outcome is then unknown, and
repeating is safe.
"""

from typing import Self

from broker.order_store.actions import Wishes
from broker.order_store.lifecycle import Claim, Created, Hint, LeaseLostError, Life
from broker.order_store.queries import Lists, Page
from broker.order_store.redis_client import Door
from broker.order_store.redis_url import Address
from broker.order_store.workers import Presence, QueueView, ServerView, Wait, WorkerView
from broker.settings.config import BrokerSettings

__all__ = [
    "Claim",
    "Created",
    "Hint",
    "LeaseLostError",
    "OrderStore",
    "Page",
    "QueueView",
    "ServerView",
    "Wait",
    "WorkerView",
]


class OrderStore(Life, Wishes, Lists, Presence):
    """The record of every order, and who is there to work on them. Safe to share between threads."""

    @classmethod
    def connect(cls, settings: BrokerSettings) -> Self:
        """A store on the Redis of the settings. Connects when first used."""
        return cls(Door(Address.of(settings)), settings)
