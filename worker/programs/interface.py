"""What runs one program of a site: a command or a container image, apart from everything else.

`worker.programs.isolation` runs commands and `worker.programs.engines` images behind the same
protocols.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Final, Literal, Protocol

EndedBy = Literal["", "exit", "time_limit", "memory", "disk", "stop"]
"""Why a program ended: by itself, by a limit, or because we stopped it; empty while it runs."""

MAX_OUTPUT_BYTES: Final = 8 * 2**20
"""How much of what a program prints is kept: half of it from the beginning, half from the end."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a port at which something listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine that the program sees at `shown_at`, an absolute path."""

    source: Path
    shown_at: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What a program may take of the machine; None = no limit beside the worker's own.

    `gpus` are the numbers of the GPUs that it may use, as `CUDA_VISIBLE_DEVICES` lists them, empty
    = none, None = all that the worker may use.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    gpus: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """One run of one program. The program gets `environment` and nothing of the worker's own.

    `argv` is the command; for an image, what is given to its entry point, empty = its own command.
    `image` is empty for a command. `engine` is `docker`, `podman` or `apptainer`, empty = the first
    that is there.

    `scratch` is an empty folder of ours on a disk with room for the slide; `/tmp` of the program
    and `output.log` are made in it, and the caller removes it when the run has ended.

    `mounts` are shown inside where that is possible. Where it is not (a plain process without a
    mount namespace) they are left out and `Isolation.shows_mounts` is False. A mount over a path
    that does not exist inside is made there for an absolute path, and left out silently if that is
    impossible. The bundle of certificates is such a mount, at its own path and over certifi's.

    `hosts` are added to `/etc/hosts` as the program sees it: name → address.

    `listen` are the addresses on which the program's own network listens, where
    `Isolation.has_own_network`: `RunningProgram.listeners` are their sockets. Empty otherwise.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    scratch: Path
    time_limit_s: float
    image: str = ""
    engine: str = ""
    mounts: tuple[Mount, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    listen: tuple[Address, ...] = ()
    limits: RunLimits = field(default_factory=RunLimits)
    max_output_bytes: int = MAX_OUTPUT_BYTES


class RunningProgram(Protocol):
    """A program that was started. Whatever it starts ends with it, also what left its session."""

    output_path: Path
    """What it printed, stdout and stderr as they came, at most `max_output_bytes`."""

    @property
    def listeners(self) -> Sequence[socket]:
        """Sockets that listen in the program's own network, one for each of `ProgramRun.listen`.

        They listen before the program starts, so that no connection is refused; the caller accepts
        from them and closes them.
        """

    @property
    def ended_by(self) -> EndedBy:
        """Why it has ended; empty while it runs."""

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code once the whole tree of processes has ended, None after the timeout.

        It is negative for a signal, as in `subprocess`. Ends the program where its time limit has
        passed.
        """

    def stop(self, grace_s: float) -> None:
        """Ask it to end (SIGTERM), end all of it after `grace_s`; return when nothing is left."""

    def kill(self) -> None:
        """End all of it at once; return when nothing is left. May be called at any time, twice."""

    def new_output(self) -> str:
        """Return what it has printed since the last call; at most 64 KiB at a time.

        Bytes that are no UTF-8 become U+FFFD. What was not asked for in time may be left out.
        """


@dataclass(frozen=True, slots=True)
class Grant:
    """One part of isolation, and whether this machine grants it.

    `lost` says in one sentence what is not so where it is missing, for `slidelane doctor`.
    """

    name: str
    is_granted: bool
    lost: str = ""


class Isolation(Protocol):
    """Starts programs in a way that this machine allows; the same for every run of a process."""

    shows_mounts: bool
    """Whether a program has `mounts` and `hosts`, and a `/tmp` of its own."""
    has_own_network: bool
    """Whether a program reaches nothing but what listens on `ProgramRun.listen`."""
    receiver_host: str
    """Where `has_own_network` is False: the address on this machine that a program can reach, on
    which what it talks to listens; 127.0.0.1 for commands."""

    def granted(self) -> tuple[Grant, ...]:
        """Return what this machine grants; it is found out once."""

    def start(self, run: ProgramRun) -> RunningProgram:
        """Start the program.

        Raise `OrderError` with the code `algorithm_unavailable` where it cannot be started: there
        is no such file, image or engine.
        """
