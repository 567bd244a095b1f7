"""Whom Flower answers, and what it keeps when it is started again."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.flower import LOGIN, FlowerProcess, stored, with_password
from tests.support.paths import ROOT
from tests.support.slides import a_picture, a_slide
from tests.support.stack import Stack, wait_for

PAGES = ("/", "/tasks", "/workers", "/metrics", "/healthcheck", "/static/css/flower.css")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("service")
    with Stack(data, [data]) as stack:
        stack.wait_ready()
        yield stack


@pytest.fixture(scope="module")
def open_flower(service: Stack) -> Iterator[FlowerProcess]:
    """Flower without a password, which has one more name."""
    named = service.env | {"FLOWER_HOST_NAMES": "flower.lab.example,other.example"}
    with FlowerProcess(named) as flower:
        yield flower


@pytest.mark.parametrize("page", PAGES)
def test_without_a_password_only_this_machine_may_be_named(
    open_flower: FlowerProcess, page: str
) -> None:
    """Another Host is how a web page reaches Flower through its own name (DNS rebinding)."""
    port = open_flower.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "flower.lab.example"):
        assert open_flower.status(page, host) == 200, host
    for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil"):
        assert open_flower.status(page, host) == 403, host


def test_the_refusal_says_what_to_do(open_flower: FlowerProcess) -> None:
    """It shows nothing of the tasks."""
    text = open_flower.get("/tasks", "evil.example").text
    assert "--host_names" in text
    assert "<html" not in text


@pytest.mark.parametrize("page", ["/", "/tasks", "/workers", "/metrics", "/healthcheck"])
def test_every_page_asks_for_the_password(service: Stack, page: str) -> None:
    """Also what machines read; with the password, any Host is answered."""
    with FlowerProcess(with_password(service.env)) as flower:
        assert flower.status(page) == 401
        assert flower.status(page, login=("watcher", "wrong")) == 401
        assert flower.status(page, "flower.lab.example", LOGIN) == 200


def test_a_health_check_needs_no_password(service: Stack) -> None:
    """That Flower asks for one shows that it lives; containers and pods rely on that."""
    with FlowerProcess(with_password(service.env)) as flower:
        ended = subprocess.run(
            [sys.executable, "-m", "slidelane.cli", "health", "flower"],
            cwd=ROOT,
            env=service.env | {"FLOWER_PORT": str(flower.port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "answers 401" in ended.stdout


@pytest.mark.parametrize("address", ["0.0.0.0", "::", ""])  # noqa: S104 - to be refused
def test_an_address_beyond_loopback_needs_a_password(service: Stack, address: str) -> None:
    """One sentence says which, and Flower does not start."""
    ended = subprocess.run(
        [sys.executable, "-m", "slidelane.flower", f"--address={address}"],
        cwd=ROOT,
        env=service.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "needs a password: set FLOWER_BASIC_AUTH" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_list_is_empty_after_a_restart_unless_it_is_kept(
    service: Stack, tmp_path: Path, number: signal.Signals
) -> None:
    """`--persistent` and `--db` reach Flower, which writes its list when it is stopped."""
    slide = a_slide(service.data / "a.svs", a_picture(300, 200))
    scans = [{"id": "1", "source": {"type": "path", "path": str(slide)}}]
    keep = ("--persistent", f"--db={tmp_path / 'tasks.db'}")
    env = with_password(service.env)
    with FlowerProcess(env, *keep) as keeping, FlowerProcess(env) as forgetful:
        for flower in (keeping, forgetful):
            wait_for(lambda: flower.tasks() == {}, what="an empty list")  # noqa: B023
            wait_for(
                lambda: flower.get("/workers?json=1", login=LOGIN).json()["data"],  # noqa: B023
                what="the workers",
            )
        task_id = f"{service.order(algorithm='grid', scans=scans)}.0:fetch:1"
        keeping.task(task_id, "SUCCESS")
        forgetful.task(task_id, "SUCCESS")
        assert keeping.stop(number) == 0
        assert forgetful.stop(number) == 0
    assert stored(tmp_path)
    with FlowerProcess(env, *keep) as again:
        assert again.task(task_id, "SUCCESS")["result"].startswith("'fetched")
    with FlowerProcess(env) as again:
        assert again.tasks() == {}
