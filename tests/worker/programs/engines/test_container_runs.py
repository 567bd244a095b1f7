"""Images that an engine runs: podman where it is there and works, else a small one of the tests."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from tests.support.own_podman import HYBRID, IMAGE, SHELL, OwnPodman
from tests.support.paths import ROOT
from tests.support.programs import command_run, ended, exit_code, printed, processes_with
from tests.support.stack import wait_for
from worker.programs.engines.containers import PodmanIsolation
from worker.programs.engines.engine import ImageEngine, chosen_engine
from worker.programs.engines.labels import owner_label, remove_leftovers
from worker.programs.interface import Address, ProgramRun


@pytest.fixture
def small_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageEngine:
    """The engine of the tests, with one image that runs bash."""
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / f"{IMAGE}.json").write_text(json.dumps([SHELL]))
    program = folder / "podman"
    shutil.copy(ROOT / "tests" / "support" / "small_engine.py", program)
    program.chmod(0o755)
    monkeypatch.setenv("SMALL_ENGINE", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return ImageEngine("podman", str(program))


@pytest.fixture(scope="module")
def own_podman(tmp_path_factory: pytest.TempPathFactory) -> OwnPodman:
    """podman with images of its own, of which there is one, made here."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    own = OwnPodman(tmp_path_factory.mktemp("podman"))
    try:
        own.make_image()
        own.call("run", "--rm", "--network=none", IMAGE, "-c", "exit 0")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"podman does not run containers here: {error.stderr.decode()}")
    return own


@pytest.fixture(params=["podman", "small"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ImageEngine:
    """podman, and the small engine of the tests."""
    if request.param == "small":
        small: ImageEngine = request.getfixturevalue("small_engine")
        return small
    own: OwnPodman = request.getfixturevalue("own_podman")
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    return ImageEngine("podman", own.program)


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> str:
    """A word by which the processes of a test are found."""
    return f"marker-{os.getpid()}-{request.node.name}"


def shell_run(scratch: Path, script: str, *words: str, **fields: Any) -> ProgramRun:
    """Return a run of the image with a script for its shell."""
    return command_run(scratch, ["-c", script, SHELL, *words], image=IMAGE, **fields)


def test_variables_are_passed_by_file_and_arrive_as_they_are(
    engine: ImageEngine, tmp_path: Path
) -> None:
    """Quotes, blanks and line breaks arrive; none is on a command line, which all users can read."""
    environment = {
        "HOST": "ci.techcyte.com",
        "JSON": '{"a": "b c", "d": "$HOME #x"}',
        "TWO_LINES": "one\ntwo",  # bash sets LINES itself
        "EMPTY": "",
    }
    script = 'printf "%s|%s|%s|%s|%s\\n" "$HOST" "$JSON" "$TWO_LINES" "$EMPTY" "$1"; exit 5'
    run = shell_run(tmp_path / "run", script, "word", environment=environment)
    program = PodmanIsolation(engine).start(run)
    expected = 'ci.techcyte.com|{"a": "b c", "d": "$HOME #x"}|one\ntwo||word\n'
    assert printed(program) == expected
    assert (exit_code(program), program.ended_by) == (5, "exit")


def test_a_container_reaches_only_what_listens_for_it(engine: ImageEngine, tmp_path: Path) -> None:
    """Two containers at a time listen on the same port, and neither reaches this machine."""
    isolation = PodmanIsolation(engine)
    if not isolation.has_own_network:
        pytest.skip(str(isolation.granted()))
    script = """
        exec 3<>/dev/tcp/127.66.0.17/443 && read -r line <&3 && echo "$line"
        (exec 4<>/dev/tcp/127.0.0.1/$1) 2>/dev/null || echo refused
        (exec 4<>/dev/tcp/192.0.2.1/80) 2>/dev/null || echo unreachable
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        address = (Address("127.66.0.17", 443),)
        programs = [
            isolation.start(shell_run(tmp_path / name, script, port, listen=address))
            for name in ("one", "two")
        ]
        for number, program in enumerate(programs):
            (listener,) = program.listeners
            with listener, closing(listener.accept()[0]) as connection:
                connection.sendall(f"caught {number}\n".encode())
        for number, program in enumerate(programs):
            assert printed(program) == f"caught {number}\nrefused\nunreachable\n"


def test_podman_without_root_gives_a_network_of_its_own_too(
    own_podman: OwnPodman, tmp_path: Path
) -> None:
    """As an ordinary user, with that user's images; files of the container are removed as well."""
    command = [sys.executable, "-m", "tests.support.refused_namespaces", ""]
    command += ["tests.support.rootless_container", str(tmp_path)]
    if HYBRID.exists():
        hide = f'umount {HYBRID}; exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", hide, "sh", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    if "skip" in said:
        pytest.skip(said["skip"])
    assert said["own_network"] is True
    assert said["exit_code"] == 3
    assert said["interfaces"] == ["lo"]
    assert said["left"] == ["environment", "output.log"]


def test_a_container_that_is_stopped_is_removed(
    engine: ImageEngine, tmp_path: Path, marker: str
) -> None:
    """It ignores SIGTERM and has left every session; nothing is left after its grace."""
    script = f"trap '' TERM; (exec -a {marker} sleep 600) & echo ready; wait; sleep 600"
    program = PodmanIsolation(engine).start(shell_run(tmp_path / "run", script))
    wait_for(lambda: "ready" in program.new_output(), what="the container runs")
    program.stop(0.5)
    assert program.ended_by == "stop"
    assert processes_with(marker) == []
    assert engine.ask("ps", "--all", "--quiet", "--filter", "label=slidelane.owner") == ""


def test_a_container_ends_at_its_time_limit(
    engine: ImageEngine, tmp_path: Path, marker: str
) -> None:
    """The engine knows no limit of time."""
    script = f"exec -a {marker} sleep 600"
    run = shell_run(tmp_path / "run", script, time_limit_s=3.0)
    program = PodmanIsolation(engine).start(run)
    exit_code(program)
    assert program.ended_by == "time_limit"
    assert processes_with(marker) == []


WORKER = """
import sys, time
from pathlib import Path
from tests.support.programs import command_run
from worker.programs.engines.containers import PodmanIsolation
from worker.programs.engines.engine import ImageEngine
program, scratch, image, script = sys.argv[1:]
run = command_run(Path(scratch), ["-c", script], image=image)
running = PodmanIsolation(ImageEngine("podman", program)).start(run)
time.sleep(600)
"""


def test_a_killed_worker_leaves_no_container(
    engine: ImageEngine, tmp_path: Path, marker: str
) -> None:
    """Its supervisor removes the container and the scratch folder."""
    scratch = tmp_path / "run"
    script = f"sleep 600 & exec -a {marker} sleep 600"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, engine.program, str(scratch), IMAGE, script], cwd=ROOT
    )
    sleeping = f"{marker}\0" + "600"  # not the worker, whose command line has the script
    with worker, ended(worker):
        wait_for(lambda: processes_with(sleeping), what="the container runs")
    wait_for(lambda: not processes_with(sleeping), what="the container has ended")
    wait_for(lambda: not scratch.exists(), what="the folder is gone")
    assert engine.ask("ps", "--all", "--quiet", "--filter", "label=slidelane.owner") == ""


def test_what_a_killed_supervisor_left_is_removed_at_the_next_start(
    small_engine: ImageEngine, tmp_path: Path
) -> None:
    """Only containers whose process is gone go, or whose time is over."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    owners = {"gone": owner_label(ended.pid), "there": owner_label(os.getpid())}
    ended.wait()
    owners["elsewhere"] = "another-machine.1.2"
    owners["late"] = "another-machine.1.3"
    for name, owner in owners.items():
        ends = "1" if name == "late" else "99999999999"
        state = {"pid": 2**22, "labels": {"slidelane.owner": owner, "slidelane.ends": ends}}
        (tmp_path / "engine" / f"{name}.state").write_text(json.dumps(state))
    assert sorted(remove_leftovers(small_engine)) == ["gone", "late"]
    assert remove_leftovers(small_engine) == []


def test_an_image_that_is_not_there_is_refused(engine: ImageEngine, tmp_path: Path) -> None:
    """The hint is the command that fetches it; nothing is fetched unasked."""
    run = replace(shell_run(tmp_path / "run", "exit"), image="slidelane-no-such-image")
    with pytest.raises(OrderError) as caught:
        PodmanIsolation(engine).start(run)
    assert caught.value.code == "algorithm_unavailable"
    assert "podman pull slidelane-no-such-image" in caught.value.hint
    assert engine.digest("slidelane-no-such-image") is None
    assert (engine.digest(IMAGE) or "").startswith("sha256:")


def test_an_engine_that_does_not_answer_is_named(small_engine: ImageEngine, tmp_path: Path) -> None:
    """What the engine says is passed on."""
    (tmp_path / "engine" / "unreachable").touch()
    with pytest.raises(OrderError, match="Cannot connect to the engine"):
        small_engine.version()
    with pytest.raises(OrderError, match="podman is there and does not answer"):
        PodmanIsolation(small_engine).start(shell_run(tmp_path / "run", "exit"))


def test_without_an_engine_the_reason_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is guessed."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OrderError, match="no engine for containers is there"):
        chosen_engine()
    with pytest.raises(OrderError, match="docker is not installed"):
        chosen_engine("docker")
    with pytest.raises(OrderError, match="there is no engine 'lxc'"):
        chosen_engine("lxc")
