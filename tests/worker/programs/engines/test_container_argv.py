"""The command lines that engines are given, without an engine."""

import os
from pathlib import Path

import pytest

from tests.support.programs import command_run
from worker.programs.engines.container_argv import (
    Container,
    apptainer_argv,
    apptainer_variables,
    image_argv,
    write_variables,
)
from worker.programs.engines.engine import Apptainer, ImageEngine
from worker.programs.interface import Mount, ProgramRun, RunLimits

SECRET = "a-token-of-the-run"
DOCKER = ImageEngine("docker", "/usr/bin/docker")
PODMAN = ImageEngine("podman", "/usr/bin/podman")


@pytest.fixture
def run(tmp_path: Path) -> ProgramRun:
    return command_run(
        tmp_path / "run",
        ["--fast"],
        image="lab/model:1",
        environment={"JWT_TOKEN": SECRET},
        hosts={"api.ci.techcyte.com": "10.89.0.1"},
        limits=RunLimits(cpus=2.5, memory_bytes=2**30, gpus=("0", "GPU-1a")),
    )


@pytest.fixture
def container(tmp_path: Path) -> Container:
    mounts = (
        Mount(tmp_path / "ca.pem", "/etc/ssl/certs/ca-certificates.crt"),
        Mount(tmp_path / "output", "/output", writable=True),
    )
    return Container("slidelane-1", {"slidelane.owner": "me"}, "none", mounts)


def test_docker_is_told_of_limits_mounts_and_names(
    run: ProgramRun, container: Container, tmp_path: Path
) -> None:
    """Everything that the run says is in the command line, but for the variables."""
    argv = image_argv(DOCKER, run, container)
    assert argv[:2] == ["/usr/bin/docker", "run"]
    assert argv[-2:] == ["lab/model:1", "--fast"]
    for word in ("--rm", "--pull=never", "--log-driver=none", "--cpus=2.5", "--memory=1073741824"):
        assert word in argv
    assert argv[argv.index("--add-host") + 1] == "api.ci.techcyte.com:10.89.0.1"
    assert f"type=bind,source={tmp_path}/output,destination=/output" in argv
    assert argv[argv.index("--mount") + 1].endswith("ca-certificates.crt,readonly")
    assert '--gpus="device=0,GPU-1a"' in argv
    assert SECRET not in " ".join(argv)


def test_variables_are_in_a_file_of_this_user_alone(run: ProgramRun) -> None:
    """A command line can be read by every user of the machine."""
    write_variables(run)
    file = run.scratch / "environment"
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"JWT_TOKEN={SECRET}\n" in file.read_text()


def test_podman_takes_gpus_by_their_names(run: ProgramRun, container: Container) -> None:
    """Its names are those of the Container Device Interface."""
    argv = image_argv(PODMAN, run, container)
    assert [word for word in argv if word.startswith("--device")] == [
        "--device=nvidia.com/gpu=0",
        "--device=nvidia.com/gpu=GPU-1a",
    ]
    assert "--http-proxy=false" in argv


def test_a_run_without_gpus_sees_none(run: ProgramRun, container: Container) -> None:
    """No option is the way to ask for none."""
    own = command_run(run.scratch, [], image="x", limits=RunLimits(gpus=()))
    for engine in (DOCKER, PODMAN):
        argv = image_argv(engine, own, container)
        assert not [word for word in argv if word.startswith(("--gpus", "--device"))]
    assert "--nv" not in apptainer_argv(Apptainer("apptainer"), own, ())


def test_apptainer_gets_variables_through_its_environment(run: ProgramRun, tmp_path: Path) -> None:
    """Its file of variables is a shell script, in which a value could be code."""
    engine = Apptainer("/usr/bin/apptainer")
    argv = apptainer_argv(engine, run, [Mount(tmp_path / "hosts", "/etc/hosts")])
    assert argv[:2] == ["/usr/bin/apptainer", "run"]
    assert {"--containall", "--cleanenv", "--no-home", "--nv"} <= set(argv)
    assert f"{tmp_path}/hosts:/etc/hosts:ro" in argv
    assert argv[-2:] == ["lab/model:1", "--fast"]
    assert SECRET not in " ".join(argv)
    variables = apptainer_variables(run)
    assert variables["APPTAINERENV_JWT_TOKEN"] == SECRET
    assert variables["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "0,GPU-1a"
    assert ("--userns" in argv) == (os.geteuid() != 0)
    assert ("--no-privs" in argv) == (os.geteuid() == 0)
