"""`slidelane serve` with real processes: what ends is started again, orders go on, nothing
remains."""

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
from broker.settings.config import load
from broker.settings.viewer import viewer_socket
from demo.slide import tissue_roi
from demo.stack import ROOT, Stack, free_ports
from slidelane.serve import Supervisor
from tests.support.stack import wait_for
from tests.support.viewer import Viewer

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are found in Linux' /proc"
)
ROLES = {
    "api": "-m services",
    "courier": "-m worker courier",
    "worker": "-m worker gpu",
    "flower": "-m slidelane.flower",
    "viewer": "-m worker viewer",
    "redis": "-server 127.0.0.1:",
    "serve": "-m slidelane.cli serve",
}


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:  # it has ended
        return ""


def processes_of(stack: Stack, role: str) -> set[int]:
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
    """Place an order that takes a moment, and return its URL."""
    answer = post(stack, "grid", {"id": "1", "source": {"type": "path", "path": str(slide)}})
    assert answer.status_code == 202, answer.text
    return stack.url + answer.headers["Location"]


def post(stack: Stack, algorithm: str, scan: dict[str, Any]) -> requests.Response:
    order = {"algorithm": algorithm, "scans": [scan]}
    return requests.post(f"{stack.url}/v1/orders", json=order, timeout=10)


def delivered(order: str) -> bool:
    state = get(order).json()["state"]
    assert state in ("queued", "running", "delivering", "delivered")
    return bool(state == "delivered")


def serve_fails(**env: str) -> str:
    """Return what `slidelane serve` prints when it does not start."""
    ended = run_module("slidelane.cli", "serve", **env)
    assert ended.returncode == 1, ended.stdout
    assert ended.stdout == ""
    return ended.stderr


def run_module(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m …` with no setting but these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_sample(data: Path) -> Path:
    """Write the sample slide as `make serve` does before it starts the service."""
    ended = run_module("demo.sample_slide", SLIDELANE_BROKER__DATA=str(data))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    return data / "sample" / "sample.svs"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("serve")
    write_sample(data)
    with Stack(data, (slide.parent,)) as stack:
        stack.wait_ready()
        yield stack


def test_the_sample_slide_can_be_ordered_at_once(serving: Stack, slide: Path) -> None:
    """No setting names its folder; the folders that settings name are allowed as well."""
    sample = serving.data / "sample" / "sample.svs"
    assert f"slidelane: sample {sample}\n" in serving.log.read_text()
    source = {"type": "path", "path": str(sample)}
    answer = post(serving, "ki67", {"id": "1", "source": source, "roi": tissue_roi(sample, 512)})
    assert answer.status_code == 202, answer.text
    order = serving.url + answer.headers["Location"]
    wait_for(lambda: delivered(order), what="the order of the sample slide")
    scan = get(order).json()["scans"][0]
    assert scan["summary"]["nuclei"] > 10
    assert get(serving.url + scan["links"]["overlay.png"]).content.startswith(b"\x89PNG")
    other = place(serving, slide)
    wait_for(lambda: delivered(other), what="the order of the other slide")


def test_the_viewer_shows_the_sample_slide(serving: Stack, slide: Path) -> None:
    """It is started with the rest, and shows what orders may read; a stranger cannot ask it."""
    socket_path = viewer_socket(serving.data)
    viewer = Viewer(socket_path)
    wait_for(socket_path.exists, what="the viewer's socket")
    sample = serving.data / "sample" / "sample.svs"
    assert viewer.get("/slide", sample).json["mpp_source"] == "slide"
    tile = viewer.image(sample, "0,0,512,512", "256,256")
    assert (tile.status, tile.body[:2]) == (200, b"\xff\xd8")
    names = [root["name"] for root in viewer.get("/folders").json["roots"]]
    assert names == [slide.parent.name, "sample"]
    assert socket_path.stat().st_mode & 0o777 == 0o600
    ended = run_module(
        "slidelane.cli", "health", "viewer", SLIDELANE_BROKER__DATA=str(serving.data)
    )
    assert (ended.returncode, ended.stdout) == (0, f"the viewer at {socket_path} answers 200\n")


def test_nobody_else_can_read_a_file_of_the_data_folder(serving: Stack, slide: Path) -> None:
    """Neither a result nor what Redis wrote: the folder is open to its owner alone."""
    order = place(serving, slide)
    wait_for(lambda: delivered(order), what="the order")
    for name in ("results", "redis"):
        files = [path for path in (serving.data / name).rglob("*") if path.is_file()]
        assert files
        assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_no_other_path_is_allowed_with_the_sample_slide(serving: Stack, tmp_path: Path) -> None:
    """Neither beside the folder of the sample slide nor elsewhere."""
    for path in (serving.data / "samples.svs", serving.data / "sample/../redis", tmp_path / "a"):
        scan = {"id": "1", "source": {"type": "path", "path": str(path)}}
        answer = post(serving, "grid", scan)
        assert (answer.status_code, answer.json()["code"]) == (422, "path_not_allowed")


def test_a_sample_slide_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """A slide that somebody put in its place is not written over."""
    sample = tmp_path / "sample" / "sample.svs"
    sample.parent.mkdir()
    sample.write_bytes(b"a slide of somebody")
    assert write_sample(tmp_path) == sample
    assert sample.read_bytes() == b"a slide of somebody"
    assert list(sample.parent.iterdir()) == [sample]


def test_a_sample_slide_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """One sentence names the setting and the folder."""
    (tmp_path / "file").touch()
    data = str(tmp_path / "file" / "data")
    ended = run_module("demo.sample_slide", SLIDELANE_BROKER__DATA=data)
    assert ended.returncode == 1
    assert re.fullmatch(rf"slidelane: .* broker\.data: .*{data}.*\n", ended.stderr)


@pytest.mark.parametrize("extra", [{}, {"SLIDELANE_WORKER__SLIDES__ROOTS_FILE": "roots"}])
def test_the_folder_of_the_sample_slide_joins_those_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]
) -> None:
    """Also where the folders come from a file, and only for a sample slide that is there."""
    monkeypatch.setenv("SLIDELANE_BROKER__DATA", str(tmp_path))
    monkeypatch.setenv("SLIDELANE_WORKER__SLIDES__ROOTS", '["/slides"]')
    for name, file in extra.items():
        (tmp_path / file).write_text('["/slides"]')
        monkeypatch.setenv(name, str(tmp_path / file))
    assert roots_of_a_process(tmp_path) == (Path("/slides"),)
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "sample.svs").touch()
    assert roots_of_a_process(tmp_path) == (Path("/slides"), tmp_path / "sample")


def roots_of_a_process(data: Path) -> tuple[Path, ...]:
    """Return the folders that a process of `slidelane serve` allows."""
    env = Supervisor(load(), 5555).environment()
    with pytest.MonkeyPatch.context() as own:
        for name in [name for name in os.environ if name.startswith("SLIDELANE_")]:
            own.delenv(name)
        for name, value in env.items():
            own.setenv(name, value)
        return load().worker.slides.roots


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
    """Nothing is started that could only fail for ever; one sentence names the port and its
    setting."""
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
    """Its page names every queue; its API, with which tasks can be sent, answers 401; it listens on
    loopback alone."""

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


@pytest.mark.parametrize("role", ["api", "courier", "worker", "flower", "viewer", "redis"])
def test_a_process_that_is_killed_is_started_again(serving: Stack, slide: Path, role: str) -> None:
    """Within seconds another one is there, and an order that is placed then is delivered."""
    (before,) = processes_of(serving, role)
    kill({before})
    wait_for(lambda: processes_of(serving, role) - {before}, within_s=30, what=f"another {role}")
    serving.wait_ready()
    wait_for(lambda: answers(serving.flower_url), within_s=30, what="Flower")
    order = place(serving, slide)
    wait_for(lambda: delivered(order), what="the order")


def test_redis_may_come_back_on_another_port(serving: Stack, slide: Path) -> None:
    """Its port was taken while it was dead: everybody is told the new address by being started
    again."""
    (supervisor,) = processes_of(serving, "serve")
    (redis,) = processes_of(serving, "redis")
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
    """The supervisor and all its children by SIGKILL; served again on the same data, the order
    placed before goes on.

    Then Ctrl-C ends it, and no process is left.
    """
    (courier,) = processes_of(serving, "courier")
    os.kill(courier, signal.SIGSTOP)
    order = place(serving, slide).removeprefix(serving.url)
    kill(serving.processes())
    wait_for(lambda: not serving.processes(), what="the end of all")
    with Stack(serving.data, (slide.parent,)) as again:
        again.wait_ready()
        wait_for(lambda: delivered(again.url + order), what="the order")
        (supervisor,) = processes_of(again, "serve")
        os.kill(supervisor, signal.SIGINT)
        wait_for(lambda: not again.processes(), within_s=30, what="the end of all")
        assert "slidelane: stopped" in again.log.read_text()
