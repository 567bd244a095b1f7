"""The command `slidelane` itself: its version, its second name, and settings given by `--set`."""

import json
import os
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from demo.stack import belonging, free_ports
from tests.support.paths import ROOT
from tests.support.stack import wait_for


def slidelane(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m slidelane …` with no setting but these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    return subprocess.run(
        [sys.executable, "-m", "slidelane", *arguments],
        cwd=ROOT,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_says_its_version() -> None:
    """One line, as of every program."""
    done = slidelane("--version")
    assert (done.returncode, done.stdout) == (0, f"slidelane {version('slidelane')}\n")


def test_python_m_slidelane_is_the_same_command() -> None:
    """With the same subcommands, under the name that the documents use."""
    done = slidelane("--help")
    assert done.stdout.startswith("usage: slidelane ")
    assert all(name in done.stdout for name in ("serve", "doctor", "worker", "health", "new-key"))
    assert "sha256: " in slidelane("new-key").stdout


@pytest.mark.parametrize(
    ("words", "command"),
    [(("run", "a.svs", "--out", "o"), "run"), (("algorithm", "check", "a"), "algorithm check")],
)
def test_an_unknown_option_names_the_command_that_has_none(
    words: tuple[str, ...], command: str
) -> None:
    """With the words that list its options."""
    done = slidelane(*words, "--rio", "1")
    assert done.returncode == 2
    assert f"unrecognized arguments: --rio 1; `slidelane {command} -h` lists" in done.stderr


@pytest.mark.parametrize("text", ["worker.device", "device=cpu", "=cpu", "worker.=cpu"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    """Before anything is started, with the form that is right; the value is not repeated."""
    done = slidelane("doctor", "--set", text)
    assert done.returncode == 2
    assert "write KEY=VALUE, like worker.device=cpu" in done.stderr


def test_a_setting_that_cannot_work_is_named_by_its_key() -> None:
    """The same sentence as for one in the environment or the file."""
    done = slidelane("doctor", "--set", "worker.device=gpu", SLIDELANE_WORKER__DEVICE="cpu")
    assert done.returncode == 1
    assert "worker.device: String should match pattern" in done.stderr
    done = slidelane("doctor", "--set", "worker.devise=cpu")
    assert "worker.devise: Extra inputs are not permitted" in done.stderr


def test_the_command_line_goes_before_the_environment(tmp_path: Path) -> None:
    """Before a variable, the file that a variable names, and a part of the same object."""
    secret = tmp_path / "port"
    secret.write_text("1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = slidelane(
            "serve",
            *("--set", f"broker.data={tmp_path / 'data'}", "--set", f"services.port={port}"),
            *("--set", 'worker.slides={"roots": ["/slides"]}'),
            SLIDELANE_BROKER__DATA=str(tmp_path / "other"),
            SLIDELANE_SERVICES__PORT_FILE=str(secret),
            SLIDELANE_WORKER__SLIDES__ROOTS="this is no list",
        )
    assert done.returncode == 1
    assert f"nothing can listen on 127.0.0.1:{port} " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["port"]


def make_serve(data: Path, log: Path) -> "tuple[subprocess.Popen[bytes], str]":
    """Start `make serve` with this environment's Python; return it and the URL of the API."""
    port, flower_port = free_ports(2)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    # The folder with the environment is given as old, so that make installs nothing into it.
    command = ["make", "--old-file=.venv/.ready", "serve", f"BIN={Path(sys.executable).parent}"]
    command += [f"DATA={data}", f"PORT={port}", f"FLOWER_PORT={flower_port}"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean | {"PYTHONPATH": str(ROOT), "SLIDELANE_WORKER__GRACE_S": "2"},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    return process, f"http://127.0.0.1:{port}"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in Linux' /proc")
def test_make_serve_says_when_it_is_ready_and_a_kill_of_make_ends_it(tmp_path: Path) -> None:
    """Only make gets the signal, and every process ends.

    Its terminal has the three addresses once they answer, and no line of Celery's or uvicorn's.
    """
    data, log = tmp_path / "data", tmp_path / "terminal"
    make, url = make_serve(data, log)
    try:
        wait_for(lambda: "slidelane: ready\n" in log.read_text(), what="ready")
        assert len(set(belonging(data))) > 5
        os.kill(make.pid, signal.SIGTERM)
        make.wait(timeout=60)
        assert set(belonging(data)) == set()
    finally:
        for pid in belonging(data):
            os.kill(pid, signal.SIGKILL)
        if make.poll() is None:
            make.kill()
    said = log.read_text()
    assert f"slidelane: API    {url}\n" in said
    assert f"slidelane: page   {url}/\n" in said
    assert f"slidelane: docs   {url}/docs\n" in said
    assert "slidelane: Flower http://127.0.0.1:" in said
    assert "slidelane: stopped" in said
    before = said.partition("slidelane: ready")[0]
    for noise in ("celery", "uvicorn", "Uvicorn", "flower.", "Connected to", "SecurityWarning"):
        assert noise not in before


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in Linux' /proc")
def test_make_serve_in_the_background_is_stopped_as_the_readme_says(tmp_path: Path) -> None:
    """`make serve &` in a shell with job control, and `kill %1`: nothing is left."""
    data, log = tmp_path / "data", tmp_path / "terminal"
    port, flower_port = free_ports(2)
    script = f"""
        make --old-file=.venv/.ready serve BIN={Path(sys.executable).parent} DATA={data} \
            PORT={port} FLOWER_PORT={flower_port} > {log} 2>&1 &
        until grep -q 'slidelane: ready' {log}; do sleep 0.5; done
        kill %1
        wait
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    subprocess.run(
        ["bash", "-m", "-c", script],
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=150,
        start_new_session=True,
    )
    assert "slidelane: stopped" in log.read_text()
    assert set(belonging(data)) == set()


def test_the_makefile_hands_signals_to_the_service() -> None:
    """A shell between make and the service would keep a signal for itself."""
    recipe = (ROOT / "Makefile").read_text().partition("\nserve:")[2].partition("\n\n")[0]
    lines = recipe.splitlines()[1:]
    assert all("exec $(BIN)/" in line for line in lines), json.dumps(lines)
