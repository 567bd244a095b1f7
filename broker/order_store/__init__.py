"""Where orders are kept: the only part that speaks Redis. What changes a state is one Lua script in `lua/`.

Every method of `OrderStore` may raise `TemporaryError("store_unreachable")`: the outcome is then unknown, and
repeating is safe.
"""

from typing import Self

from broker.order_store.actions import Actions
from broker.order_store.lifecycle import Claim, Created, LeaseLostError, Lifecycle, TaskMessage
from broker.order_store.queries import Page, Queries
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.order_store.workers import QueueView, ServerView, Wait, Workers, WorkerView
from broker.settings.config import BrokerSettings

__all__ = [
    "Claim",
    "Created",
    "LeaseLostError",
    "OrderStore",
    "Page",
    "QueueView",
    "ServerView",
    "TaskMessage",
    "Wait",
    "WorkerView",
]


class OrderStore(Lifecycle, Actions, Queries, Workers):
    """The record of every order, and who is there to work on them. Safe to share between threads."""

    @classmethod
    def connect(cls, settings: BrokerSettings) -> Self:
        """A store on the Redis of the settings. Connects when first used."""
        return cls(RedisClient(RedisUrl.of(settings)), settings)
