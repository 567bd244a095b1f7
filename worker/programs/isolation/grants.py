"""What this machine grants to isolate a program with, found out by trying it once."""

import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from broker.errors import OrderError, TemporaryError
from worker.programs.interface import Grant
from worker.programs.isolation.cgroup import delegated_folder
from worker.programs.isolation.client import SupervisedProgram
from worker.programs.isolation.request import Bind, Request

_LIMIT_S: Final = 60.0
_OUTPUT_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be had.

    `namespaces`: of processes and files; `own_network`: one of the network, too. `cgroup` is the
    folder in which a group can be made for a run, empty for none. The reasons say why not.
    """

    namespaces: bool
    own_network: bool
    cgroup: str = ""
    reason: str = ""
    network_reason: str = ""

    @property
    def grants(self) -> tuple[Grant, ...]:
        """The offer as `slidelane doctor` shows it."""
        return (
            Grant(
                "processes",
                self.namespaces,
                "what a program leaves behind is looked for and ended, and only stays where the "
                f"worker and the supervisor of the run are killed at once ({self.reason})",
            ),
            Grant(
                "files",
                self.namespaces,
                "a program sees and changes whatever the worker can; programs share /tmp and run "
                f"one at a time; only the proxy leads what they post to the worker ({self.reason})",
            ),
            Grant(
                "network",
                self.own_network,
                f"a program reaches whatever this machine reaches ({self.network_reason})",
            ),
            Grant(
                "memory and processors",
                bool(self.cgroup),
                "memory is looked at ten times a second, so a program may take more for a moment; "
                "processors are limited to whole ones (no cgroup of version 2 with the controller "
                "of memory is delegated to the worker: Delegate= and DelegateSubgroup= of systemd)",
            ),
        )


@cache
def offered() -> Offer:
    """Return what this machine offers to this process; two trials of half a second, once."""
    cgroup = str(delegated_folder() or "")
    network_reason = _refusal(own_network=True)
    if not network_reason:
        return Offer(namespaces=True, own_network=True, cgroup=cgroup)
    reason = _refusal(own_network=False)
    return Offer(
        namespaces=not reason,
        own_network=False,
        cgroup=cgroup,
        reason=reason,
        network_reason=network_reason,
    )


def _refusal(*, own_network: bool) -> str:
    """Return why no program can run with these namespaces, empty if one did."""
    with tempfile.TemporaryDirectory(prefix="slidelane-trial-") as name:
        folder = Path(name, "tmp")
        folder.mkdir()
        request = Request(
            argv=(sys.executable, "-S", "-c", ""),
            environment={},
            folder="/tmp",  # noqa: S108 - its own
            scratch=name,
            output=f"{name}/output.log",
            max_output_bytes=_OUTPUT_BYTES,
            time_limit_s=_LIMIT_S,
            namespaces=True,
            own_network=own_network,
            binds=(Bind(str(folder), "/tmp", writable=True),),  # noqa: S108 - its own
        )
        try:
            program = SupervisedProgram(request)
            status = program.wait(_LIMIT_S)
        except (OrderError, TemporaryError) as error:
            return error.detail.removeprefix("the program cannot be started: ")
        if status:
            return f"a trial ended with {status}"
        return ""
