"""Where the viewer listens, and who is answered there."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from broker.settings.config import BrokerSettings, Config, ConfigError, WorkerSettings
from broker.settings.viewer import ViewerAddress, ViewerSettings, viewer_socket
from slidelane.http_probe import NoAnswerError
from slidelane.viewer_probe import ask_viewer
from tests.support.paths import ROOT
from tests.support.stack import free_port, wait_for
from tests.support.viewer import running_viewer, viewer_config
from worker.viewer.listener import listening
from worker.viewer.server import server

SECRET = "0123456789abcdef" * 3


def on_port(data: Path, port: int) -> Config:
    return Config(
        broker=BrokerSettings(data=data, viewer=ViewerAddress(secret=SecretStr(SECRET))),
        worker=WorkerSettings(viewer=ViewerSettings(bind=f"127.0.0.1:{port}")),
    )


def test_the_socket_is_its_owners_alone_and_goes_with_the_viewer(tmp_path: Path) -> None:
    """Mode 0600 in a folder of mode 0700; nothing is left of it."""
    config = viewer_config(tmp_path / "data")
    path = viewer_socket(config.broker.data)
    with running_viewer(config):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert ask_viewer(config) == f"the viewer at {path} answers 200"
    assert list(path.parent.iterdir()) == []
    with pytest.raises(NoAnswerError):
        ask_viewer(config)


def test_what_a_killed_viewer_left_is_no_obstacle(tmp_path: Path) -> None:
    """Its socket is replaced at once; a viewer that ends later leaves the new one alone."""
    config = viewer_config(tmp_path / "data")
    with listening(config), running_viewer(config) as viewer:
        assert viewer.get("/healthz").status == 200
    old = listening(config)
    old.__enter__()
    with running_viewer(config) as viewer:
        old.__exit__(None, None, None)
        assert viewer.get("/healthz").status == 200


def test_a_long_path_of_the_data_folder_has_its_socket_elsewhere(tmp_path: Path) -> None:
    """The kernel takes about a hundred bytes; another data folder has another socket."""
    data = tmp_path / ("long" * 30) / "data"
    path = viewer_socket(data)
    assert len(os.fsencode(path)) < 100
    assert path != viewer_socket(data.with_name("other"))
    with running_viewer(viewer_config(data)) as viewer:
        assert viewer.get("/healthz").status == 200
        assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.rmdir()


def test_a_port_answers_whoever_knows_the_secret(tmp_path: Path) -> None:
    """401 without it, 403 with another; health is told to everybody."""
    port = free_port()
    config = on_port(tmp_path / "data", port)
    running = server(config)
    with listening(config) as listener:
        import threading
        from http.client import HTTPConnection

        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            told = []
            for address, sent in (
                ("/folders", {}),
                ("/folders", {"Authorization": "Bearer wrong"}),
                ("/folders", {"Authorization": f"Bearer {SECRET}é"}),
                ("/folders", {"Authorization": f"Bearer {SECRET}"}),
                ("/healthz", {}),
            ):
                connection = HTTPConnection("127.0.0.1", port, timeout=60)
                encoded = {name: value.encode("latin-1") for name, value in sent.items()}
                connection.request("GET", address, headers=encoded)
                told.append(connection.getresponse().status)
                connection.close()
            assert told == [401, 403, 403, 200, 200]
            assert ask_viewer(config) == f"http://127.0.0.1:{port}/healthz answers 200"
        finally:
            running.should_exit = True
            thread.join(60)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """With its setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = on_port(tmp_path / "data", taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"worker\.viewer\.bind"), listening(config):
            pass


@pytest.mark.parametrize(
    "address",
    [
        {"url": "http://viewer:8060"},
        {"url": "https://viewer:8060", "secret": SECRET},
        {"url": "http://viewer", "secret": SECRET},
        {"url": "http://viewer:8060/x", "secret": SECRET},
        {"url": "http://user:hush@viewer:8060", "secret": SECRET},
        {"url": "http://viewer:0", "secret": SECRET},
        {"secret": "short"},
    ],
    ids=["no-secret", "https", "no-port", "path", "login", "port-zero", "short"],
)
def test_an_address_that_cannot_work_is_refused(address: dict[str, str]) -> None:
    """And repeated in no message: it may hold a password."""
    with pytest.raises(ValueError, match=r"viewer|HOST:PORT|characters") as refused:
        ViewerAddress.model_validate(address)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("bind", ["8060", "viewer", ":8060", "a b:8060", "x:99999"])
def test_a_place_to_listen_that_is_none_is_refused(bind: str) -> None:
    """It is HOST:PORT."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        ViewerSettings(bind=bind)


def test_a_port_needs_the_secret() -> None:
    """Whoever reaches the port could read every slide."""
    with pytest.raises(ValueError, match=r"broker\.viewer\.secret"):
        Config(worker=WorkerSettings(viewer=ViewerSettings(bind="0.0.0.0:8060")))


def test_the_process_ends_in_order_when_it_is_asked_to(tmp_path: Path) -> None:
    """Status 0, and its socket is gone, as are the processes that read slides."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    data = tmp_path / "data"
    viewer = subprocess.Popen(
        [sys.executable, "-m", "worker.viewer"],
        cwd=ROOT,
        env=env | {"SLIDELANE_BROKER__DATA": str(data)},
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(viewer_socket(data).exists, what="the viewer's socket")
        viewer.send_signal(signal.SIGTERM)
        _, log = viewer.communicate(timeout=60)
    finally:
        viewer.kill()
    assert viewer.returncode == 0, log.decode()
    assert list(data.iterdir()) == []
