"""docker and apptainer, by programs of the tests that take their command lines."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.programs import command_run, printed
from worker.programs.engines.containers import ApptainerIsolation, DockerIsolation
from worker.programs.engines.engine import Apptainer, ImageEngine
from worker.programs.interface import Mount

HOST = "ci.techcyte.com"
APPTAINER = """#!/bin/sh
# A container here is the machine itself. What is bound is copied to where the test looks.
while [ "$1" != "$SMALL_IMAGE" ]; do
    [ "$1" = --bind ] && echo "bound $2"
    shift
done
shift
HOST=$APPTAINERENV_HOST exec bash "$@"
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageEngine:
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(["bash"]))
    program = folder / "docker"
    shutil.copy(ROOT / "tests" / "support" / "small_engine.py", program)
    program.chmod(0o755)
    monkeypatch.setenv("SMALL_ENGINE", str(folder))
    return ImageEngine("docker", str(program))


def test_programs_of_docker_share_a_network_that_leads_here(
    docker: ImageEngine, tmp_path: Path
) -> None:
    """The worker listens at its own address in that network, and nothing is listened on inside."""
    isolation = DockerIsolation(docker)
    assert isolation.receiver_host == "127.0.0.1"
    assert not isolation.has_own_network
    run = command_run(
        tmp_path / "run", ["-c", "echo $HOST"], image="model", environment={"HOST": HOST}
    )
    program = isolation.start(run)
    assert printed(program) == f"{HOST}\n"
    assert program.listeners == []
    argv = json.loads((tmp_path / "engine" / "argv.json").read_text())
    assert argv[argv.index("--network") + 1] == "slidelane-programs"
    tmp = "type=volume,destination=/tmp"
    if os.geteuid() == 0:
        tmp = f"type=bind,source={tmp_path}/run/tmp,destination=/tmp"
    assert tmp in argv


def test_apptainer_runs_in_the_namespaces_of_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is one of the run: in the same network, and ended with it."""
    image = tmp_path / "images" / "model.sif"
    image.parent.mkdir()
    image.write_bytes(b"SIF")
    program = tmp_path / "engine" / "apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER)
    program.chmod(0o755)
    monkeypatch.setenv("SMALL_IMAGE", str(image))
    engine = Apptainer(str(program))
    isolation = ApptainerIsolation(engine)
    shown = tmp_path / "shown"
    shown.write_text("of the worker\n")
    script = f"echo $HOST; cat {shown}; grep -c : /proc/net/dev; sleep 600 & exit 4"
    run = command_run(
        tmp_path / "run",
        ["-c", script],
        image=str(image),
        mounts=(Mount(shown, "/etc/shown"),),
        environment={"HOST": HOST},
    )
    running = isolation.start(run)
    text = printed(running)
    assert f"bound {shown}:/etc/shown:ro" in text
    assert f"bound {tmp_path}/run/tmp:/tmp:rw" in text
    assert f"{HOST}\nof the worker\n" in text
    assert running.wait(0) == 4
    if isolation.has_own_network:
        assert text.endswith("\n1\n")  # loopback alone
    assert (engine.digest(str(image)) or "").startswith("sha256:")
    assert engine.digest(f"{image}.not") is None
