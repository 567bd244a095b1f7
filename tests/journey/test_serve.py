"""`slidelane serve` for real: what dies is started again, what was taken on is carried on, nothing is left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from broker.order_store.redis_url import embedded_url
from demo.stack import ROOT, Stack, free_ports
from tests.support.stack import wait_for

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are found in Linux' /proc"
)
ROLES = {
    "api": "-m services",
    "courier": "-m worker courier",
    "worker": "-m worker gpu",
    "flower": "-m slidelane.flower",
    "redis": "-server 127.0.0.1:",
    "serve": "-m slidelane.cli serve",
}


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:  # it has ended
        return ""


def living(stack: Stack, role: str) -> set[int]:
    return {pid for pid in stack.processes() if ROLES[role] in command(pid)}


def kill(pids: set[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=10)


def answers(url: str) -> bool:
    try:
        return get(url).ok
    except requests.ConnectionError:
        return False


def place(stack: Stack, slide: Path) -> str:
    """An order that is done at once where there is anybody to do it; returns its address."""
    scans = [{"id": "1", "source": {"type": "path", "path": str(slide)}}]
    answer = requests.post(
        f"{stack.url}/v1/orders", json={"algorithm": "grid", "scans": scans}, timeout=10
    )
    assert answer.status_code == 202, answer.text
    return stack.url + answer.headers["Location"]


def delivered(order: str) -> bool:
    state = get(order).json()["state"]
    assert state in ("queued", "running", "delivering", "delivered")
    return bool(state == "delivered")


def serve_fails(**env: str) -> str:
    """What `slidelane serve` says when it does not start."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    done = subprocess.run(
        [sys.executable, "-m", "slidelane.cli", "serve"],
        cwd=ROOT, env=clean | env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    return done.stderr


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("serve"), (slide.parent,)) as stack:
        stack.wait_ready()
        yield stack


def test_a_second_service_on_the_same_data_is_refused(serving: Stack, tmp_path: Path) -> None:
    """It ends with one sentence that names the folder, and the first one goes on."""
    api, flower = map(str, free_ports(2))
    said = serve_fails(
        SLIDELANE_BROKER__DATA=str(serving.data), SLIDELANE_SERVICES__PORT=api, FLOWER_PORT=flower
    )
    assert re.fullmatch(
        rf"slidelane: {serving.data}/redis is in use by another Slidelane; .*\n", said
    )
    assert get(f"{serving.url}/readyz").status_code == 200


@pytest.mark.parametrize("setting", ["SLIDELANE_SERVICES__PORT", "FLOWER_PORT"])
def test_a_port_that_is_taken_is_told(setting: str, tmp_path: Path) -> None:
    """Nothing is started that could only fail for ever; one sentence names the port and its setting."""
    api, flower = map(str, free_ports(2))
    given = {
        "SLIDELANE_BROKER__DATA": str(tmp_path),
        "SLIDELANE_SERVICES__PORT": api,
        "FLOWER_PORT": flower,
    }
    with socket.create_server(("127.0.0.1", int(given[setting]))):
        said = serve_fails(**given)
    assert f"127.0.0.1:{given[setting]} (Address already in use)" in said
    assert setting.removeprefix("SLIDELANE_SERVICES__") in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", ["http", "65536", "8000"])
def test_a_flower_port_that_is_none_is_refused(port: str, tmp_path: Path) -> None:
    """A word, an impossible number and the API's own port are told in one sentence."""
    said = serve_fails(
        SLIDELANE_BROKER__DATA=str(tmp_path), SLIDELANE_SERVICES__PORT="8000", FLOWER_PORT=port
    )
    assert re.fullmatch(r"slidelane: .*FLOWER_PORT .*\n", said)


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The sentence names the setting and the folder."""
    (tmp_path / "file").touch()
    api, flower = map(str, free_ports(2))
    data = str(tmp_path / "file" / "data")
    said = serve_fails(
        SLIDELANE_BROKER__DATA=data, SLIDELANE_SERVICES__PORT=api, FLOWER_PORT=flower
    )
    assert re.fullmatch(rf"slidelane: broker\.data .*{data}.*\n", said)


def test_a_storage_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    """The sentence names the setting and the folder, and nothing is started."""
    api, flower = map(str, free_ports(2))
    given = {
        "SLIDELANE_BROKER__DATA": str(tmp_path),
        "SLIDELANE_SERVICES__PORT": api,
        "FLOWER_PORT": flower,
    }
    said = serve_fails(SLIDELANE_BROKER__STORAGE=f"{tmp_path}/share", **given)
    assert re.fullmatch(
        rf"slidelane: broker\.storage: there is no folder {tmp_path}/share.*\n", said
    )
    assert list(tmp_path.iterdir()) == []


def test_flower_shows_our_queues_and_lets_nobody_in(serving: Stack) -> None:
    """Its page names every queue; its API, with which tasks can be sent, answers 401; it listens on loopback alone."""

    def shown() -> set[str]:
        return set(re.findall(r"<td>([a-z.]+)</td>", get(f"{serving.flower_url}/broker").text))

    wait_for(
        lambda: shown() >= {"fetch", "gpu", "deliver", "gpu.urgent"},
        within_s=30,
        what="the list of queues",
    )
    assert get(f"{serving.flower_url}/api/workers").status_code == 401
    assert (
        requests.post(
            f"{serving.flower_url}/api/task/send-task/slidelane.fetch", timeout=10
        ).status_code
        == 401
    )
    port = int(serving.flower_url.rpartition(":")[2])
    assert listeners(port) == {"0100007F"}


def listeners(port: int) -> set[str]:
    """The local addresses, as the kernel writes them, on which somebody listens on the port."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    return {
        fields[1].partition(":")[0]
        for fields in lines
        if fields[3] == "0A" and fields[1].endswith(f":{port:04X}")
    }


@pytest.mark.parametrize("role", ["api", "courier", "worker", "flower", "redis"])
def test_a_process_that_is_killed_is_started_again(serving: Stack, slide: Path, role: str) -> None:
    """Within seconds another one is there, and an order that is placed then is delivered."""
    (before,) = living(serving, role)
    kill({before})
    wait_for(lambda: living(serving, role) - {before}, within_s=30, what=f"another {role}")
    serving.wait_ready()
    wait_for(lambda: answers(serving.flower_url), within_s=30, what="Flower")
    order = place(serving, slide)
    wait_for(lambda: delivered(order), what="the order")


def test_redis_may_come_back_on_another_port(serving: Stack, slide: Path) -> None:
    """Its port was taken while it was dead: everybody is told the new address by being started again."""
    (supervisor,), (redis,) = living(serving, "serve"), living(serving, "redis")
    port = int(embedded_url(serving.data).rpartition(":")[2].removesuffix("/0"))
    os.kill(supervisor, signal.SIGSTOP)
    kill({redis})
    with wait_for(lambda: taken(port), what="the port of the dead Redis"):
        os.kill(supervisor, signal.SIGCONT)
        wait_for(
            lambda: f":{port}/" not in embedded_url(serving.data),
            within_s=30,
            what="another address",
        )
        serving.wait_ready()
        order = place(serving, slide)
        wait_for(lambda: delivered(order), what="the order")


def taken(port: int) -> Any:
    """A listener on the port, or None while it is not free."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def test_everything_killed_at_once_loses_nothing(serving: Stack, slide: Path) -> None:
    """The supervisor and all its children by SIGKILL; served again on the same data, the order placed before goes on.

    Then Ctrl-C ends it, and no process is left.
    """
    (courier,) = living(serving, "courier")
    os.kill(courier, signal.SIGSTOP)
    order = place(serving, slide).removeprefix(serving.url)
    kill(serving.processes())
    wait_for(lambda: not serving.processes(), what="the end of all")
    with Stack(serving.data, (slide.parent,)) as again:
        again.wait_ready()
        wait_for(lambda: delivered(again.url + order), what="the order")
        (supervisor,) = living(again, "serve")
        os.kill(supervisor, signal.SIGINT)
        wait_for(lambda: not again.processes(), within_s=30, what="the end of all")
        assert "slidelane: stopped" in again.log.read_text()
