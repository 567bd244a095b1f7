"""Runs commands of a site, as isolated as this machine allows."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from broker.errors import OrderError
from broker.settings.config import CONFIG_VARIABLE, PREFIX
from worker.programs.interface import Grant, ProgramRun
from worker.programs.isolation.client import SupervisedProgram
from worker.programs.isolation.grants import Offer, offered
from worker.programs.isolation.request import Bind, Request

_TMP: Final = "/tmp"  # noqa: S108 - the name that programs know
_TMP_FOLDERS: Final = (Path(_TMP), Path("/var/tmp"))  # noqa: S108
_HOSTS: Final = Path("/etc/hosts")
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
OUTPUT: Final = "output.log"


class CommandIsolation:
    """Starts commands; an `Isolation`."""

    receiver_host = "127.0.0.1"

    def __init__(self, hidden: Iterable[Path] = (), offer: Offer | None = None) -> None:
        """Use what `offer` says; without one find out what the machine grants, once.

        `hidden` are files and folders that no program sees, such as the data folder; files of
        settings and secrets that the environment names are hidden in any case.
        """
        self._offer = offer or offered()
        self._hidden = tuple(hidden)
        self.shows_mounts = self._offer.namespaces
        self.has_own_network = self._offer.own_network

    def granted(self) -> tuple[Grant, ...]:
        """Return what this machine grants."""
        return self._offer.grants

    def start(self, run: ProgramRun) -> SupervisedProgram:
        """Start the command. Raise OrderError where there is no such program."""
        check_command(run)
        tmp = run.scratch / "tmp"
        tmp.mkdir(exist_ok=True)
        tmp.chmod(0o1777)
        environment = {**visible_gpus(run), **run.environment}
        folder = _TMP
        if not self.shows_mounts:
            folder = str(tmp)
            environment["TMPDIR"] = folder
        request = Request(
            argv=run.argv,
            environment=environment,
            folder=folder,
            scratch=str(run.scratch),
            output=str(run.scratch / OUTPUT),
            max_output_bytes=run.max_output_bytes,
            time_limit_s=run.time_limit_s,
            namespaces=self._offer.namespaces,
            own_network=self._offer.own_network,
            shares_tmp=not self._offer.namespaces,
            binds=tuple(self._binds(run, tmp)),
            hidden=tuple(map(str, [*_files_of_settings(), *self._hidden])),
            gpus=run.limits.gpus != (),
            listen=tuple((address.host, address.port) for address in run.listen),
            cpus=run.limits.cpus,
            memory_bytes=run.limits.memory_bytes,
            disk_bytes=run.limits.disk_bytes,
            cgroup=self._offer.cgroup,
        )
        return SupervisedProgram(request)

    def _binds(self, run: ProgramRun, tmp: Path) -> Iterator[Bind]:
        """Yield what the program sees in another place or way than the worker."""
        if not self.shows_mounts:
            return
        for folder in _TMP_FOLDERS:
            if folder.is_dir():
                yield Bind(str(tmp), str(folder), writable=True)
        for path in sorted(named_below_tmp(run.argv)):
            if not any(path.is_relative_to(hidden) for hidden in self._hidden):
                yield Bind(str(path), str(path))
        hosts_file = run.scratch / "hosts"
        hosts_file.write_text(hosts_text(run))
        yield Bind(str(hosts_file), str(_HOSTS))
        for mount in run.mounts:
            yield Bind(str(mount.source), mount.shown_at, writable=mount.writable)


def check_command(run: ProgramRun) -> None:
    """Raise OrderError where the program of a command is not there."""
    if not run.argv:
        raise _unavailable("the command is empty")
    path = run.environment.get("PATH", os.defpath)
    if shutil.which(run.argv[0], path=path) is None:
        raise _unavailable(f"there is no program {run.argv[0]!r} that can be executed")


def hosts_text(run: ProgramRun) -> str:
    """Return /etc/hosts of this machine with the names of the run before its own."""
    lines = [f"{address}\t{name}\n" for name, address in run.hosts.items()]
    if _HOSTS.exists():
        lines.append(_HOSTS.read_text(errors="replace"))
    return "".join(lines)


def visible_gpus(run: ProgramRun) -> dict[str, str]:
    """Return the variable that chooses GPUs, as the worker has it or as the run limits it."""
    if run.limits.gpus is not None:
        return {_VISIBLE: ",".join(run.limits.gpus)}
    if _VISIBLE in os.environ:
        return {_VISIBLE: os.environ[_VISIBLE]}
    return {}


def named_below_tmp(argv: Sequence[str]) -> set[Path]:
    """Return the folders below /tmp that a command names, which stay visible there.

    Of a program in a folder `bin` it is the folder above, which a virtual environment needs.
    """
    found = set()
    for word in argv:
        path = Path(word)
        if not any(path.is_relative_to(folder) for folder in _TMP_FOLDERS) or not path.exists():
            continue
        folder = path if path.is_dir() else path.parent
        if folder.name == "bin":
            folder = folder.parent
        if folder not in _TMP_FOLDERS:
            found.add(folder)
    return found


def _files_of_settings() -> Iterator[str]:
    """Yield the files of settings and secrets that the environment of the worker names."""
    yield str(Path(os.environ.get(CONFIG_VARIABLE, "config.json")).absolute())
    for name, value in os.environ.items():
        if name.startswith(PREFIX) and name.endswith("_FILE"):
            yield str(Path(value).absolute())


def _unavailable(detail: str) -> OrderError:
    return OrderError(
        "algorithm_unavailable",
        detail,
        hint="correct worker.algorithms: the command of the algorithm",
        blame="platform",
    )
