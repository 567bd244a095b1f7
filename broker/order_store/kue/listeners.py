"""The Redis that old listeners of Kue read: the hashes of jobs, and the channel of their events."""

import json
from typing import Any, Final

from broker.order_store.kue.document import KueJob, hash_fields
from broker.order_store.redis_client import client_of, reachable
from broker.order_store.redis_url import RedisUrl

PREFIX: Final = "q"
"""What Kue puts before its keys unless it is told otherwise."""
CHANNEL: Final = f"{PREFIX}:events"


class KueListeners:
    """Writes to that Redis. Each method may raise `TemporaryError("store_unreachable")`."""

    def __init__(self, address: RedisUrl, keep_s: float) -> None:
        self._client = client_of(address)
        self._keep_s = int(keep_s)

    def write_job(self, job: KueJob) -> None:
        """Write the hash of a job as it is now. It goes by itself after `keep_s`."""
        key = _key(job.number)
        with reachable():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.delete(key)
            pipeline.hset(key, mapping=hash_fields(job))
            pipeline.expire(key, self._keep_s)
            pipeline.execute()

    def remove_job(self, number: int) -> None:
        """Remove the hash of a job."""
        with reachable():
            self._client.delete(_key(number))

    def publish(self, message: dict[str, Any]) -> None:
        """Publish one event as Kue does: a line of JSON."""
        text = json.dumps(message, separators=(",", ":"))
        with reachable():
            self._client.publish(CHANNEL, text)


def _key(number: int) -> str:
    return f"{PREFIX}:job:{number}"
