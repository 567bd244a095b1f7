"""Items for Celery's queues, as kombu writes them and as nobody should."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import redis

from broker.order_store.redis_url import embedded_url

NOTHING_AFTER = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def item(
    *,
    task: str = "slidelane.fetch",
    task_id: str = "by-hand",
    args: Any = ("0123.0",),
    body: bytes | None = None,
    headers: dict[str, Any] | None = None,
    **more: Any,
) -> str:
    """Return one item of a queue. `headers` and `more` go over what Celery would write."""
    if body is None:
        body = json.dumps([args, {}, NOTHING_AFTER]).encode()
    all_headers = {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "eta": None}
    all_headers |= {"parent_id": None, "group": None, "argsrepr": repr(args), "kwargsrepr": "{}"}
    all_headers |= {"retries": 0, "timelimit": [None, None], "expires": None, **(headers or {})}
    properties = {
        "correlation_id": task_id,
        "delivery_tag": secrets.token_hex(8),
        "delivery_info": {"exchange": "", "routing_key": "fetch"},
        "delivery_mode": 2,
        "priority": 0,
        "body_encoding": "base64",
    }
    envelope = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": all_headers,
        "properties": properties,
    }
    return json.dumps(envelope | more)


class TaskQueues:
    """The queues of Celery in the embedded Redis of a data folder."""

    def __init__(self, data: Path) -> None:
        self._client = redis.Redis.from_url(embedded_url(data))

    def put(self, queue: str, *items: str | bytes) -> None:
        """Put items on a queue, as a producer does."""
        self._client.lpush(queue, *items)

    def are_empty(self, *queues: str) -> bool:
        """Return whether nothing waits on the queues and every item was acknowledged."""
        waiting = sum(self._client.llen(queue) for queue in queues)  # type: ignore[misc]
        return waiting == 0 and self._client.hlen("unacked") == 0
