"""Jobs of Kue: what clients of Kue sent and see of their orders, and the events they listen to."""

from broker.order_store.kue.document import KueJob, document
from broker.order_store.kue.events import KueEvent, KueEvents
from broker.order_store.kue.jobs import KUE_STATES, KueJobs, KueSent
from broker.order_store.kue.listeners import KueListeners

__all__ = [
    "KUE_STATES",
    "KueEvent",
    "KueEvents",
    "KueJob",
    "KueJobs",
    "KueListeners",
    "KueSent",
    "document",
]
