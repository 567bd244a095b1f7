"""Celery's connection to Redis, which drops whatever on a queue is no task message of ours.

Celery's consumer ends with the first item that it cannot read, and kombu puts that item back on
its queue for the next worker. So each item is checked before Celery sees it.
"""

import logging
from typing import Annotated, Any, Literal

from kombu.transport import TRANSPORT_ALIASES, redis
from pydantic import Base64Bytes, BaseModel, Field, TypeAdapter, ValidationError

_REPLY_QUEUE = ".pidbox"
"""How the queues end that carry the answers of workers to Flower and to `celery inspect`."""
_log = logging.getLogger(__name__)

WorkId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}(\.[0-9]{1,3})?$")]


class TaskHeaders(BaseModel):
    """What Celery reads of the headers. It may name no other task and no time."""

    task: Literal[
        "slidelane.fetch", "slidelane.classify", "slidelane.deliver", "slidelane.fetch_slide"
    ]
    id: Annotated[str, Field(min_length=1, max_length=255)]
    eta: None = None
    expires: None = None
    timelimit: Annotated[list[None], Field(max_length=2)] | None = None
    retries: int | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None


class DeliveryInfo(BaseModel):
    """The queue that the item was put on."""

    exchange: str
    routing_key: str


class TaskProperties(BaseModel):
    """What kombu reads of an item."""

    delivery_tag: Annotated[str, Field(min_length=1, max_length=255)]
    delivery_info: DeliveryInfo
    body_encoding: Literal["base64"]


class TaskEnvelope(BaseModel):
    """An item as kombu writes it. Its body is the JSON of a task's arguments."""

    headers: TaskHeaders
    properties: TaskProperties
    body: Base64Bytes
    content_type: Annotated[Literal["application/json"], Field(alias="content-type")]
    content_encoding: Annotated[Literal["utf-8"], Field(alias="content-encoding")]


class TaskOptions(BaseModel):
    """What Celery would do after the task: nothing."""

    callbacks: None = None
    errbacks: None = None
    chain: None = None
    chord: None = None


class NoKeywords(BaseModel):
    """Keyword arguments, of which a task takes none."""

    model_config = {"extra": "forbid"}


_BODY: TypeAdapter[Any] = TypeAdapter(tuple[tuple[WorkId], NoKeywords, TaskOptions])


def fault_of(item: Any) -> str:
    """Return what makes this item of a queue no task message of ours, or an empty text.

    The answer names fields and no values, because nobody knows what the item holds.
    """
    try:
        envelope = TaskEnvelope.model_validate(item)
        _BODY.validate_json(envelope.body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}".removeprefix(": ")
    return ""


class _CheckedChannel:
    """Reads one item of a queue; one that is not JSON is dropped.

    No list is kept of messages that were taken and are not acknowledged yet. kombu would put such a
    message back after a minute, and the scheduler sends it again after `broker.hint_again_s`,
    because the record says that its work waits. The list took two transactions for each message.
    """

    ack_emulation = False
    _client_of_pool: Any = None

    def _create_client(self, *, asynchronous: bool = False) -> Any:
        """Return the client of the channel's connections, the same one until these change.

        kombu makes one for every command that it sends, some twenty for an order, and each takes
        0.1 ms. A client holds nothing but its pool of connections.
        """
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        client = self._client_of_pool
        if client is None or client.connection_pool is not self.pool:  # type: ignore[attr-defined]
            client = super()._create_client()  # type: ignore[misc]
            self._client_of_pool = client
        return client

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, RecursionError) as error:
            _log.warning(
                "dropped an item of a queue: it is not JSON (%s)",
                type(error).__name__,
                extra={"code": "dropped"},
            )
            return True


class _CheckedTransport:
    """Hands a message on to the consumer of its queue, unless it is none of ours."""

    def _deliver(self, message: Any, queue: str) -> None:
        if not queue.endswith(_REPLY_QUEUE):
            fault = fault_of(message)
            if fault:
                _log.warning(
                    "dropped an item of the queue %s: %s", queue, fault, extra={"code": "dropped"}
                )
                return
        super()._deliver(message, queue)  # type: ignore[misc]


class _RedisChannel(_CheckedChannel, redis.Channel):  # type: ignore[misc]
    """A channel to one Redis server."""


class _SentinelChannel(_CheckedChannel, redis.SentinelChannel):  # type: ignore[misc]
    """A channel to the Redis server that Sentinels name."""


class RedisTransport(_CheckedTransport, redis.Transport):
    """kombu's transport to one Redis server, checked."""

    Channel = _RedisChannel


class SentinelTransport(_CheckedTransport, redis.SentinelTransport):
    """kombu's transport to a Redis server that Sentinels name, checked."""

    Channel = _SentinelChannel


def check_messages() -> None:
    """Make this process read its queues through the checked transports.

    To be called before the first connection. kombu looks a transport up by the scheme of its URL,
    also when it turns to another Sentinel, so the schemes are what is replaced.
    """
    checked = f"{__name__}:{RedisTransport.__name__}"
    TRANSPORT_ALIASES["redis"] = checked
    TRANSPORT_ALIASES["rediss"] = checked
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{SentinelTransport.__name__}"
