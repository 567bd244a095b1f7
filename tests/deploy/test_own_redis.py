"""The Redis of deploy/k8s is durable: its command is run unchanged with a real server."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from broker.order_store.embedded_redis import find_server
from tests.support.kubernetes_objects import find
from tests.support.kustomize import rendered
from tests.support.redis_servers import ONCE, free_port
from tests.support.stack import wait_for

PASSWORD = "0f1e2d3c4b5a"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    """Start Redis by the command of its container and return a client."""
    (container,) = find(rendered("gpu"), "StatefulSet", "redis")["spec"]["template"]["spec"][
        "containers"
    ]
    shell, flag, script = container["command"]
    (tmp_path / "redis-server").symlink_to(find_server())
    port = free_port()
    script = script.replace("dir /data", f"dir {tmp_path}\nport {port}\nbind 127.0.0.1")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REDIS_PASSWORD": PASSWORD}
    environment |= {f"REDIS_{user}_PASSWORD": "0" for user in ("API", "WORKER", "FLOWER")}
    process = subprocess.Popen([shell, flag, script], env=environment, stdout=subprocess.DEVNULL)
    client = redis.Redis("127.0.0.1", port, password=PASSWORD, retry=ONCE)

    def is_ready() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        wait_for(is_ready, 30, "the server")
        assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text(), (
            "a process list shows the password"
        )
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()


def test_our_redis_loses_and_throws_away_nothing(client: Any) -> None:
    """It has the settings that docs/redis.md requires, and refuses clients without a password."""
    required = {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    assert {name: client.config_get(name)[name] for name in required} == required
    assert client.config_get("maxmemory")["maxmemory"] == str(2 * 2**30)
    port = client.get_connection_kwargs()["port"]
    anonymous = redis.Redis("127.0.0.1", port, retry=ONCE)
    with anonymous, pytest.raises(redis.AuthenticationError):
        anonymous.ping()
