"""The Redis users of the compose file and of deploy/k8s, tried on a real server."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from broker.order_store import OrderStore, Session
from broker.order_store.embedded_redis import find_server
from broker.settings.config import BrokerSettings
from demo.slide import make_sample_slide
from tests.support.compose_files import compose_file
from tests.support.kubernetes_objects import find
from tests.support.kustomize import rendered
from tests.support.orders import a_request
from tests.support.pages import ROOT
from tests.support.redis_servers import ONCE, free_port
from tests.support.stack import Stack, wait_for
from tests.test_containers import VARIABLES

USERS = {"api": "REDIS_API_PASSWORD", "worker": "REDIS_WORKER_PASSWORD"}
USERS |= {"flower": "REDIS_FLOWER_PASSWORD"}
PASSWORDS = {variable: f"password-of-{name}" for name, variable in USERS.items()}
PASSWORDS |= {"REDIS_PASSWORD": "password-of-the-administrator"}
RULE = re.compile(r"^ *user (\w+) on >\$+(\w+) (.*)$", re.MULTILINE)
ROLE_USERS = {"api": "api", "courier": "worker", "worker": "worker", "flower": "flower"}


def compose_script() -> str:
    """Return the shell script that starts Redis in the compose file."""
    return str(compose_file("docker-compose.yml", VARIABLES)["services"]["redis"]["command"][-1])


def kubernetes_script() -> str:
    """Return the shell script that starts Redis in Kubernetes."""
    pod = find(rendered("gpu"), "StatefulSet", "redis")["spec"]["template"]["spec"]
    return str(pod["containers"][0]["command"][-1])


def rules(text: str) -> dict[str, tuple[str, str]]:
    """Return what each user may, by name: the variable of its password and the access rules."""
    return {name: (variable, access) for name, variable, access in RULE.findall(text)}


class StackWithUsers(Stack):
    """The whole service, in which each role connects as the user of its own."""

    roles = ("api", "courier", "worker", "flower")

    def __init__(self, data: Path, roots: list[Path], port: int) -> None:
        super().__init__(data, roots)
        self.redis_port = port
        self.flower_port = free_port()

    def __enter__(self) -> Self:
        for role in self.roles:
            user = ROLE_USERS[role]
            password = PASSWORDS[USERS[user]]
            url = f"redis://{user}:{password}@127.0.0.1:{self.redis_port}/0"
            self.start(
                role,
                SLIDELANE_BROKER__REDIS_URL=url,
                FLOWER_PORT=str(self.flower_port),
                FLOWER_UNAUTHENTICATED_API="true",
            )
        return self


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Start Redis by the command of the compose file, without its change of user."""
    (tmp_path / "redis-server").symlink_to(find_server())
    free = free_port()
    script = compose_script().replace("$$", "$")
    script = re.sub(r"exec setpriv .* redis-server -", "exec redis-server -", script)
    script = script.replace("chown redis:redis /data\n", "")
    script = script.replace("dir /data", f"dir {tmp_path}\nport {free}\nbind 127.0.0.1")
    environment = PASSWORDS | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REDIS_MAXMEMORY": "256mb",
    }
    process = subprocess.Popen(
        ["sh", "-c", script], env=environment, stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        wait_for(lambda: answers(free), 30, "the server")
        yield free
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    """Return whether the server accepts the administrator."""
    with client(port, "default", PASSWORDS["REDIS_PASSWORD"]) as administrator:
        try:
            return bool(administrator.ping())
        except redis.RedisError:
            return False


def client(port: int, user: str, password: str, database: int = 1) -> Any:
    """Return a client that connects as the user."""
    return redis.Redis("127.0.0.1", port, database, username=user, password=password, retry=ONCE)


def test_compose_kubernetes_and_the_page_have_the_same_users() -> None:
    """The rules stand in three files, so that each can be read alone, and are the same."""
    expected = rules(compose_script())
    assert set(expected) == set(USERS)
    assert {name: variable for name, (variable, _) in expected.items()} == USERS
    assert rules(kubernetes_script()) == expected
    assert rules((ROOT / "docs" / "redis.md").read_text()) == expected


def test_the_api_keeps_sessions_and_reads_the_feed_of_changes(port: int, tmp_path: Path) -> None:
    """Logging in, streams of events and `GET /v1/system` need no more than it may."""
    url = f"redis://api:{PASSWORDS['REDIS_API_PASSWORD']}@127.0.0.1:{port}/0"
    store = OrderStore.connect(BrokerSettings(redis_url=url, data=tmp_path / "data"))
    session = Session("ward 7", "0" * 64)
    store.begin_session("1" * 64, session)
    assert store.find_session("1" * 64) == session
    store.end_session("1" * 64)
    position = store.last_change()
    order_id = store.create(a_request(), queue="gpu").order_id
    changes = store.next_changes(position, 1.0)
    assert {change.order_id for change in changes} == {order_id}
    assert store.changes_between(position) == changes
    assert store.knows_change(changes[-1].id)
    assert store.server().is_durable


def test_an_order_lives_its_whole_life_with_these_users(port: int, tmp_path: Path) -> None:
    """API, courier, worker and Flower each have the commands and keys that they need."""
    slides = tmp_path / "slides"
    slides.mkdir()
    slide = slides / "slide.svs"
    make_sample_slide(slide, 2048, 2048)
    data = tmp_path / "stack"
    data.mkdir()
    with StackWithUsers(data, [slides], port) as stack:
        stack.wait_ready()
        order_id = stack.order(
            algorithm="grid",
            scans=[{"id": "1", "source": {"type": "path", "path": str(slide)}}],
            destination={"type": "none"},
        )
        ended = stack.wait_until(order_id, "delivered", "failed")
        assert ended["state"] == "delivered", ended["error"]
        cancelled = stack.order(
            algorithm="grid",
            scans=[{"id": "1", "source": {"type": "path", "path": str(slide)}}],
            destination={"type": "none"},
        )
        assert stack.call("POST", f"/v1/orders/{cancelled}/cancel")[0] == 202
        assert stack.call("GET", "/v1/orders?state=delivered")[0] == 200
        assert stack.call("GET", "/v1/queues")[0] == 200
        assert stack.call("GET", "/metrics")[0] == 200
        stack.url = f"http://127.0.0.1:{stack.flower_port}"
        workers = wait_for(lambda: stack.call("GET", "/api/workers?refresh=true")[1], 60, "Flower")
        assert len(workers) == 2
        for role in ("api", "courier", "worker", "flower"):
            log = (data / f"{role}.log").read_text()
            assert "permission" not in log.lower(), log


@pytest.mark.parametrize("user", USERS)
def test_nobody_but_the_administrator_commands_the_server(port: int, user: str) -> None:
    """Neither settings nor other users nor all keys at once can be read, changed or deleted."""
    with client(port, user, PASSWORDS[USERS[user]]) as ours:
        for command in (
            ("CONFIG", "GET", "*"),
            ("FLUSHALL",),
            ("FLUSHDB",),
            ("ACL", "LIST"),
            ("KEYS", "*"),
            ("SHUTDOWN",),
            ("REPLICAOF", "NO", "ONE"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.execute_command(*command)


def test_flower_sees_no_order(port: int) -> None:
    """It cannot read or write a record, not by a script either, or enqueue a message."""
    with client(port, "default", PASSWORDS["REDIS_PASSWORD"]) as administrator:
        administrator.hset("sl:order:1", "request", "secret")
    with client(port, "flower", PASSWORDS["REDIS_FLOWER_PASSWORD"]) as flower:
        for command in (
            ("HGETALL", "sl:order:1"),
            ("DEL", "sl:order:1"),
            ("LPUSH", "fetch", "{}"),
            ("LRANGE", "fetch", "0", "-1"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                flower.execute_command(*command)
        script = "return redis.call('HGETALL', 'sl:order:1')"
        with pytest.raises(redis.exceptions.ResponseError, match="No permissions"):
            flower.eval(script, 0)
        assert flower.llen("fetch") == 0


def test_the_api_takes_no_message_from_a_queue(port: int) -> None:
    """It enqueues and counts, and touches no key that is neither a record nor a queue."""
    with client(port, "api", PASSWORDS["REDIS_API_PASSWORD"], 0) as api:
        api.lpush("gpu", "{}")
        assert api.llen("gpu") == 1
        for command in (("RPOP", "gpu"), ("LRANGE", "gpu", "0", "-1"), ("DEL", "unacked")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                api.execute_command(*command)


def test_a_stranger_is_refused(port: int) -> None:
    """Neither no password nor a wrong one is accepted."""
    anonymous = redis.Redis("127.0.0.1", port, retry=ONCE)
    with anonymous, pytest.raises(redis.AuthenticationError):
        anonymous.ping()
    with client(port, "api", "wrong") as wrong, pytest.raises(redis.AuthenticationError):
        wrong.ping()
