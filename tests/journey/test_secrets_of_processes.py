"""Another process of the same user gets nothing out of a courier, a worker and its child."""

import subprocess
import sys

from tests.journey.test_crashing_decoder import processes_of
from tests.support.paths import ROOT
from tests.support.stack import ROLES, Stack, wait_for

WITHOUT_CAPABILITIES = "tests.support.without_capabilities"
LOOK = """
import sys
from pathlib import Path
from worker import linux
linux.drop_capabilities()
for process_id in sys.argv[1:]:
    for name in ("environ", "mem", "fd/0"):
        try:
            Path(f"/proc/{process_id}/{name}").open("rb").close()
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
        print(process_id)
"""


def readable(process_ids: set[int]) -> set[int]:
    """The ids of the processes that a neighbour can look into."""
    command = [sys.executable, "-c", LOOK, *map(str, process_ids)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {int(line) for line in done.stdout.split()}


def workers(stack: Stack, *roles: str) -> dict[int, str]:
    """The processes of these roles that hold settings: all but what reads slides."""
    running: dict[int, str] = {}
    for role in roles:
        running |= processes_of(stack.processes[role].pid)
    return {
        number: command
        for number, command in running.items()
        if ("worker" in command and "sandbox" not in command) or "spawn_main" in command
    }


def test_neither_memory_nor_environment_can_be_read(stack: Stack) -> None:
    """Of the parents and of the child that classifies: all have keys and passwords."""
    for role in ("courier", "worker"):
        stack.modules = {role: (WITHOUT_CAPABILITIES, *ROLES[role])}
        stack.start(f"{role}-2")
    stack.modules = ROLES
    roles = ("courier-2", "worker-2")
    wait_for(lambda: len(workers(stack, *roles)) >= 3, what="the child")
    wait_for(lambda: not readable(set(workers(stack, *roles))), what="an end of all looks")
    command = [sys.executable, "-m", WITHOUT_CAPABILITIES, "timeit", "-n1", "-r1", "input()"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as other:
        wait_for(lambda: "timeit" in processes_of(other.pid)[other.pid].split()[2:3])
        assert readable({other.pid}) == {other.pid}
        other.kill()
    for role in roles:
        stack.kill(role)
        del stack.processes[role]
