"""What the worker tells the supervisor of one run, as JSON on one line."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder that the program sees at `target`, and can change if `writable`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One run.

    `confined`: the program gets the namespaces and gives up its privileges. Otherwise it is one
    that needs them itself, such as the client of a container engine: it is only watched and ended.

    `binds` replace what is at their targets, in this order, and `hidden` paths are empty for the
    program; both only with `namespaces`. `last_commands` are run when the program has ended in
    whatever way, such as the one that removes a container. `memory_bytes` and `disk_bytes` are None
    for no limit, and memory is only looked at if `watches_memory`.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    scratch: str
    output: str
    max_output_bytes: int
    time_limit_s: float
    confined: bool = True
    namespaces: bool = False
    own_network: bool = False
    shares_tmp: bool = False
    binds: tuple[Bind, ...] = ()
    hidden: tuple[str, ...] = ()
    gpus: bool = True
    listen: tuple[tuple[str, int], ...] = ()
    cpus: float | None = None
    watches_memory: bool = True
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    cgroup: str = ""
    last_commands: tuple[tuple[str, ...], ...] = ()

    @property
    def line(self) -> bytes:
        """The request as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """Return the request of a line."""
        fields = json.loads(line)
        fields["argv"] = tuple(fields["argv"])
        fields["binds"] = tuple(Bind(**bind) for bind in fields["binds"])
        fields["last_commands"] = tuple(map(tuple, fields["last_commands"]))
        fields["listen"] = tuple((host, port) for host, port in fields["listen"])
        return cls(**fields)
