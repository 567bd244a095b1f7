"""The record of all orders in Redis. Each change of a state is one Lua script in `lua/`.

Every method of `OrderStore` may raise `TemporaryError("store_unreachable")`. Its outcome is then
unknown, and it is safe to repeat the call.
"""

from functools import cached_property
from typing import Self

from broker.order_store.actions import Actions
from broker.order_store.announced.backlog import Backlog, QueueView, Wait
from broker.order_store.announced.hosting import Hosting
from broker.order_store.announced.workers import Workers, WorkerView
from broker.order_store.arrivals import Arrivals
from broker.order_store.errors import UnreadableOrderError
from broker.order_store.keys import PAYLOAD_FIELD
from broker.order_store.kue import KueEvents, KueJobs
from broker.order_store.lifecycle import (
    Claim,
    Created,
    Creator,
    LeaseLostError,
    LeaseState,
    Lifecycle,
    TaskMessage,
)
from broker.order_store.live.changes import Change, Changes
from broker.order_store.live.sessions import Session, Sessions
from broker.order_store.notices import Notice, Notices
from broker.order_store.queries import AttemptState, Page, Queries, ServerView, Standing
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.order_store.viewed_slides import ViewedSlides
from broker.settings.config import BrokerSettings

__all__ = [
    "PAYLOAD_FIELD",
    "AttemptState",
    "Change",
    "Claim",
    "Created",
    "Creator",
    "LeaseLostError",
    "LeaseState",
    "Notice",
    "OrderStore",
    "Page",
    "QueueView",
    "ServerView",
    "Session",
    "Standing",
    "TaskMessage",
    "UnreadableOrderError",
    "Wait",
    "WorkerView",
]


class OrderStore(
    Lifecycle, Actions, Queries, Workers, Hosting, Backlog, Notices, Sessions, Changes
):
    """The record of every order and of the workers. Safe to share between threads."""

    @cached_property
    def arrivals(self) -> Arrivals:
        """The slides of watched folders."""
        return Arrivals(self._client, self._settings)

    @cached_property
    def kue(self) -> KueJobs:
        """The orders that are jobs of Kue."""
        return KueJobs(self._client, self._settings)

    @cached_property
    def kue_events(self) -> KueEvents:
        """What listeners of Kue are still to be told."""
        return KueEvents(self._client, self._settings)

    @cached_property
    def viewed_slides(self) -> ViewedSlides:
        """The slides that people look at."""
        return ViewedSlides(self._client, self._settings)

    @classmethod
    def connect(cls, settings: BrokerSettings) -> Self:
        """Return a store on the Redis of the settings; it connects when first used.

        Raise `ConfigError`.
        """
        return cls(RedisClient(RedisUrl.of(settings)), settings)
