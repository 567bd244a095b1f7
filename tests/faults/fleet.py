"""The service as a fleet of real processes, each of which can be killed or frozen."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from broker.file_storage.interface import RESULTS
from broker.order_store import OrderStore
from broker.settings.config import BrokerSettings
from tests.support.paths import ROOT
from tests.support.stack import Stack

REDIS = "redis"
ON_A_FULL_DISK = """
mount -t tmpfs -o size=1m full "$0" &&
(head -c 2m /dev/zero > "$0/filler" || true) &&
exec "$@"
"""
SETTINGS = {
    # A scan that meets many faults by chance must not count as one that kills its worker.
    "SLIDELANE_BROKER__ATTEMPTS": "50",
    "SLIDELANE_WORKER__THREADS": "1",
    "SLIDELANE_WORKER__DELIVER__MAX_RETRY_S": "4",
    # Longer than any late answer, so that a no that counts is a true one on a busy machine too.
    "SLIDELANE_WORKER__DELIVER__UNKNOWN_PATIENCE_S": "12",
    "SLIDELANE_WORKER__DELIVER__UNTRUE_ATTEMPTS": "50",
}


class Fleet(Stack):
    """Redis, one API, two couriers, two workers."""

    roles: ClassVar[tuple[str, ...]] = ("api", "courier-1", "courier-2", "worker-1", "worker-2")

    def __init__(
        self, data: Path, roots: Iterable[Path], settings: dict[str, str] | None = None
    ) -> None:
        super().__init__(data, roots)
        self.env |= SETTINGS if settings is None else settings

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for role in self.processes:
            self.kill(role)
        self.thaw(REDIS)
        self.redis.stop()

    @property
    def store(self) -> OrderStore:
        """Return a connection to the order store."""
        return OrderStore.connect(BrokerSettings(data=self.data))

    def start(self, role: str, **settings: str) -> None:
        """Start one process, Redis included."""
        if role == REDIS:
            self.redis.start()
        else:
            super().start(role, **settings)

    def runs(self, role: str) -> bool:
        """Return whether the process is alive, frozen or not."""
        process = self.redis.process if role == REDIS else self.processes[role]
        return process is not None and process.poll() is None

    def tend(self) -> bool:
        """Restart what has ended, as every deployment does; return whether nothing had."""
        ended = [role for role in self.roles if not self.runs(role)]
        for role in ended:
            self.start(role)
        return not ended

    def kill(self, role: str, number: int = signal.SIGKILL) -> None:
        """End one process and all it started, and wait for that."""
        if role != REDIS:
            super().kill(role, number)
        elif self.redis.process:
            self.redis.process.send_signal(number)
            self.redis.process.wait(timeout=60)

    def ask_to_stop(self, role: str) -> None:
        """Send SIGTERM to a process and to all that it started, as systemd does; do not wait."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid(role), signal.SIGTERM)

    def start_after_stop(self, role: str) -> None:
        """Start a process that was asked to stop; kill it first if it is still there."""
        if self.runs(role):
            self.kill(role)
        self.start(role)

    def start_on_a_full_disk(self, role: str) -> int:
        """Start a worker that finds the disk for results full; return its pid.

        It sees a full disk of 1 MB in place of the folder with the results, in a mount namespace
        of its own.
        """
        results = self.data / RESULTS
        results.mkdir(exist_ok=True)
        module = self.modules[role.partition("-")[0]]
        command = ["unshare", "--mount", "sh", "-c", ON_A_FULL_DISK, str(results)]
        with (self.data / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [*command, sys.executable, "-m", *module],
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.processes[role].pid

    def freeze(self, role: str) -> None:
        """Stop a process and all it started from running on."""
        os.killpg(self._pid(role), signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        """Let a frozen process continue."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid(role), signal.SIGCONT)

    def kill_child(self, role: str) -> None:
        """Kill the largest child of a worker, as the kernel does when memory is short."""
        children = self.children(role)
        with suppress(ProcessLookupError):
            if children:
                os.kill(max(children, key=_resident_pages), signal.SIGKILL)

    def children(self, role: str) -> set[int]:
        """The processes that this one has started and that have not ended."""
        pid = self._pid(role)
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def _pid(self, role: str) -> int:
        process = self.redis.process if role == REDIS else self.processes[role]
        assert process
        return process.pid


def may_mount(folder: Path) -> bool:
    """Return whether this user may mount a small disk in a namespace of its own."""
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "full", str(folder)]
    if not shutil.which("unshare"):
        return False
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
