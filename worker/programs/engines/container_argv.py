"""The command lines that run one image: docker and podman, and apptainer.

No variable of a run stands in them, because every user of the machine can read a command line.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.programs.engines.engine import Apptainer, ImageEngine
from worker.programs.interface import Mount, ProgramRun

VARIABLES: Final = "environment"
"""The file in the scratch folder that holds the variables of a run."""
_MOST_LINE_BYTES: Final = 60_000
"""The engines read a file of variables by lines of at most 64 KiB."""
_MOST_PROCESSES: Final = 4096
_CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
"""What is left of root's rights in a container: to prepare its own files and become another user.

Without them, images that were made for an ordinary engine would not run unchanged.
"""
_TMP: Final = "/tmp"  # noqa: S108 - the container's own
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_APPTAINER_VARIABLE: Final = "APPTAINERENV_"


@dataclass(frozen=True, slots=True)
class Container:
    """What is the container's own: its name, its labels, what it is connected to and is shown.

    `network` is what `--network` takes. The paths of `mounts` are those that the engine sees. With
    `tmp_is_volume` the engine keeps /tmp, otherwise it is one of the mounts.
    """

    name: str
    labels: Mapping[str, str]
    network: str
    mounts: tuple[Mount, ...]
    tmp_is_volume: bool = False


def image_argv(engine: ImageEngine, run: ProgramRun, container: Container) -> list[str]:
    """Return the command line of docker or podman."""
    # Logs are ours: an engine's own would grow without a bound.
    argv = [engine.program, "run", "--rm", "--pull=never", "--log-driver=none"]
    argv += ["--name", container.name, "--network", container.network]
    argv += ["--stop-timeout", "0"]  # its removal kills it; who asked it to end has waited before
    for key, value in container.labels.items():
        argv += ["--label", f"{key}={value}"]
    for host, address in run.hosts.items():
        argv += ["--add-host", f"{host}:{address}"]
    argv += ["--env-file", str(run.scratch / VARIABLES)]
    for variable in long_variables(run.environment):
        argv += ["--env", variable]
    if container.tmp_is_volume:
        argv += ["--mount", f"type=volume,destination={_TMP}"]
    for mount in container.mounts:
        argv += ["--mount", _mount_words(mount)]
    argv += ["--security-opt", "no-new-privileges", "--cap-drop", "ALL"]
    for capability in _CAPABILITIES:
        argv += ["--cap-add", capability]
    argv += _limits(engine, run)
    if engine.name == "podman":
        argv += ["--http-proxy=false"]  # the worker's own proxy is no business of a program
    return [*argv, run.image, *run.argv]


def apptainer_argv(engine: Apptainer, run: ProgramRun, mounts: Iterable[Mount]) -> list[str]:
    """Return the command line of apptainer, whose container is a process of ours."""
    argv = [engine.program, "run", "--containall", "--cleanenv", "--no-home", "--writable-tmpfs"]
    if os.geteuid() == 0:
        argv.append("--no-privs")  # root would keep all of its capabilities
    else:
        argv.append("--userns")  # its setuid program would have no effect in our namespaces
    for mount in mounts:
        kind = "rw" if mount.writable else "ro"
        argv += ["--bind", f"{mount.source}:{mount.shown_at}:{kind}"]
    if gpus_of(run) is not None:
        argv.append("--nv")
    return [*argv, run.image, *run.argv]


def apptainer_variables(run: ProgramRun) -> dict[str, str]:
    """Return the variables by which apptainer passes those of the run on, as they are."""
    variables = {f"{_APPTAINER_VARIABLE}{name}": value for name, value in run.environment.items()}
    gpus = gpus_of(run)
    if gpus is not None and gpus != ("all",):
        variables[f"{_APPTAINER_VARIABLE}{_VISIBLE}"] = ",".join(gpus)
    return variables


def write_variables(run: ProgramRun) -> None:
    """Write the file that `image_argv` names, which only this user can read."""
    left_out = long_variables(run.environment)
    lines = [f"{name}={value}\n" for name, value in run.environment.items() if name not in left_out]
    descriptor = os.open(run.scratch / VARIABLES, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(lines)


def long_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of variables that no line of a file can hold.

    The engine's client takes them from its own environment.
    """
    return [
        name
        for name, value in environment.items()
        if "\n" in value or "\r" in value or len(value.encode()) > _MOST_LINE_BYTES
    ]


def gpus_of(run: ProgramRun) -> tuple[str, ...] | None:
    """Return the GPUs of a run by number or name, `("all",)` for all of them, None for none."""
    if run.limits.gpus is not None:
        return run.limits.gpus or None
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return None
    own = os.environ.get(_VISIBLE)
    if own is None:
        return ("all",)
    return tuple(filter(None, own.split(","))) or None


def _mount_words(mount: Mount) -> str:
    words = f"type=bind,source={mount.source},destination={mount.shown_at}"
    if not mount.writable:
        words += ",readonly"
    return words


def _limits(engine: ImageEngine, run: ProgramRun) -> Iterator[str]:
    yield f"--pids-limit={_MOST_PROCESSES}"
    limits = run.limits
    if limits.memory_bytes is not None:
        yield f"--memory={limits.memory_bytes}"
        yield f"--memory-swap={limits.memory_bytes}"
        yield f"--shm-size={limits.memory_bytes // 2}"
    if limits.cpus is not None:
        yield f"--cpus={limits.cpus:g}"
    gpus = gpus_of(run)
    if gpus is None:
        return
    if engine.name == "podman":
        for gpu in gpus:
            yield f"--device=nvidia.com/gpu={gpu}"
    elif gpus == ("all",):
        yield "--gpus=all"
    else:
        yield f'--gpus="device={",".join(gpus)}"'
