"""Whatever lies on a queue: one line in the log, and the couriers and workers go on."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import Connection, Queue
from kombu.message import Message

from broker.queue.transport import RedisTransport
from tests.support.slides import a_picture, a_slide
from tests.support.stack import Stack, wait_for
from tests.support.task_messages import TaskQueues, item

TAKES_PICKLES = "application/x-python-serialize"
AFTER = [{"task": "slidelane.deliver", "args": ["0123"]}]
NO_MESSAGES: dict[str, str | bytes] = {
    "binary": b"\x80\x04\x95\xff\x00\xfe",
    "text": "hello",
    "unfinished JSON": '{"body": ',
    "deep JSON": "[" * 100_000,
    "a number": "1",
    "null": "null",
    "a list": "[]",
    "an empty object": "{}",
    "no body": '{"properties": {"delivery_tag": "1"}, "headers": {}}',
    "no headers": json.dumps(json.loads(item()) | {"headers": None}),
    "no tag": json.dumps(json.loads(item()) | {"properties": {}}),
    "not base64": json.dumps(json.loads(item()) | {"body": "%%%"}),
    "no base64": json.dumps(json.loads(item()) | {"body": 5}),
    "not UTF-8": item(body=b"\xff\xfe"),
    "a body that is a number": item(body=b"1"),
    "a body of nulls": item(body=b"[null, null, null]"),
    "what is to follow": item(
        body=json.dumps([["0123.0"], {}, {"callbacks": AFTER}]).encode(),
    ),
    "no arguments": item(args=[]),
    "two arguments": item(args=["0123.0", "0123.1"]),
    "an argument that is an object": item(args=[{"work": "0123.0"}]),
    "an argument that is long": item(args=["0" * 100_000]),
    "an argument that is a path": item(args=["../../0123.0"]),
    "another task": item(task="os.system"),
    "a task that is a number": item(headers={"task": 5}),
    "a task that is a list": item(headers={"task": ["slidelane.fetch"]}),
    "another time": item(headers={"eta": "tomorrow"}),
    "an end": item(headers={"expires": "yesterday"}),
    "a limit": item(headers={"timelimit": "short"}),
    "a pickle": item(body=base64.b64encode(b"cos\nsystem\n."), **{"content-type": TAKES_PICKLES}),
}
SECRET = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("queues")
    with Stack(data, [data]) as service:
        service.wait_ready()
        yield service


def said(stack: Stack, role: str) -> str:
    return (stack.data / f"{role}.log").read_text()


@pytest.mark.parametrize("queue", ["fetch", "gpu"])
@pytest.mark.parametrize("name", NO_MESSAGES)
def test_what_is_no_message_is_dropped_in_one_line(stack: Stack, queue: str, name: str) -> None:
    """The line says that, and nothing of what the item holds."""
    role = {"fetch": "courier", "gpu": "worker"}[queue]
    queues = TaskQueues(stack.data)
    before = len(said(stack, role))
    queues.put(queue, NO_MESSAGES[name])
    wait_for(lambda: "code=dropped" in said(stack, role)[before:], what="the line")
    wait_for(lambda: queues.are_empty(queue), what="an empty queue")
    (line,) = said(stack, role)[before:].splitlines()
    assert " warning " in line
    assert len(line) < 500
    assert stack.processes[role].poll() is None


def test_work_that_does_not_exist_is_told_in_one_line(stack: Stack) -> None:
    """An order that was deleted, or never was."""
    queues = TaskQueues(stack.data)
    for queue, role, task, work in (
        ("fetch", "courier", "fetch", "0123.0"),
        ("fetch", "courier", "fetch", "0123"),
        ("deliver", "courier", "deliver", "0123"),
        ("gpu", "worker", "classify", "0123.99"),
    ):
        before = len(said(stack, role))
        queues.put(queue, item(task=f"slidelane.{task}", args=[work]))
        wait_for(lambda: said(stack, role)[before:].endswith("\n"), what="the line")  # noqa: B023
        (line,) = said(stack, role)[before:].splitlines()
        assert "nothing to do: there is no such work" in line


def test_a_secret_in_a_dropped_item_is_not_logged(stack: Stack) -> None:
    """Not even where it stands in the place of a name."""
    before = len(said(stack, "courier"))
    TaskQueues(stack.data).put("fetch", item(task=SECRET), item(args=[SECRET, SECRET]), SECRET)
    wait_for(lambda: said(stack, "courier")[before:].count("code=dropped") == 3, what="the lines")
    assert SECRET not in said(stack, "courier")


def test_courier_and_worker_went_on(stack: Stack, tmp_path: Path) -> None:
    """After all of that, an order is done by the processes that were there at the beginning."""
    slide = a_slide(stack.data / "a.svs", a_picture(300, 200))
    scans = [{"id": "1", "source": {"type": "path", "path": str(slide)}}]
    order_id = stack.order(algorithm="grid", scans=scans)
    stack.wait_until(order_id, "delivered")
    assert all(process.poll() is None for process in stack.processes.values())
    for role in ("courier", "worker"):
        assert "Traceback" not in said(stack, role)


def test_a_message_that_was_taken_is_on_no_list(redis_url: str) -> None:
    """The record knows that its work waits, so a list of what is not acknowledged is not kept."""
    taken: list[Message] = []
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        client.lpush("fetch", item())
        with (
            Connection(redis_url, transport=RedisTransport) as connection,
            connection.Consumer(Queue("fetch"), on_message=taken.append),
        ):
            connection.drain_events(timeout=10)
            assert client.llen("fetch") == 0
            assert not client.exists("unacked", "unacked_index")
            taken[0].ack()


def test_a_channel_makes_one_client(redis_url: str) -> None:
    """kombu makes one for each command, which takes 0.1 ms of a core each time."""
    with Connection(redis_url, transport=RedisTransport) as connection:
        channel = connection.channel()
        with channel.conn_or_acquire() as one, channel.conn_or_acquire() as other:
            assert one is other
            assert one.ping()
