"""Programs that do everything wrong end, and nothing of them is left, whatever is granted."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.support.paths import ROOT
from tests.support.programs import ended, exit_code, printed, processes_with, python_run
from tests.support.stack import wait_for
from worker.programs.interface import RunLimits
from worker.programs.isolation.commands import CommandIsolation
from worker.programs.isolation.grants import Offer, offered

NOTHING = Offer(namespaces=False, own_network=False)
FORKS = """
import os, sys, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        os._exit(0)
print("forked", flush=True)
"""
WORKER = """
import sys, time
from pathlib import Path
from tests.support.programs import python_run
from worker.programs.isolation.commands import CommandIsolation
from worker.programs.isolation.grants import Offer
offer = None
if sys.argv[1] == "nothing":
    offer = Offer(namespaces=False, own_network=False)
code, marker, scratch = sys.argv[2:]
program = CommandIsolation(offer=offer).start(python_run(Path(scratch), code, marker))
print(program.new_output(), flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["granted", "nothing"])
def isolation(request: pytest.FixtureRequest) -> CommandIsolation:
    """Isolation as the machine grants it, and as where it grants nothing."""
    if request.param == "nothing":
        return CommandIsolation(offer=NOTHING)
    if not offered().namespaces:
        pytest.skip(f"no namespaces are granted: {offered().reason}")
    return CommandIsolation()


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> str:
    """A word by which the processes of a test are found."""
    return f"marker-{os.getpid()}-{request.node.name}"


def test_daemons_end_with_their_program(
    isolation: CommandIsolation, tmp_path: Path, marker: str
) -> None:
    """A program that ends leaves ten processes in sessions of their own; none is left."""
    program = isolation.start(python_run(tmp_path / "run", f"{FORKS}\nraise SystemExit(3)", marker))
    assert exit_code(program) == 3
    assert processes_with(marker) == []
    assert program.ended_by == "exit"
    assert program.output_path.read_text() == "forked\n"


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(
    isolation: CommandIsolation, tmp_path: Path, marker: str
) -> None:
    """`stop` returns when nothing is left, the daemons included."""
    code = f"import signal\nsignal.signal(15, signal.SIG_IGN)\n{FORKS}\ntime.sleep(600)"
    program = isolation.start(python_run(tmp_path / "run", code, marker))
    wait_for(lambda: "forked" in program.new_output(), what="the program has forked")
    program.stop(0.5)
    assert processes_with(marker) == []
    assert (program.wait(0), program.ended_by) == (-signal.SIGKILL, "stop")
    program.kill()


def test_a_program_that_obeys_sigterm_may_tidy_up(
    isolation: CommandIsolation, tmp_path: Path
) -> None:
    """Its own exit code and last words are kept, and its grace is not waited for."""
    code = """
        import signal, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        print("ready", flush=True)
        signal.sigwait([signal.SIGTERM])
        print("tidied up", flush=True)
        sys.exit(7)
    """
    program = isolation.start(python_run(tmp_path / "run", code))
    wait_for(lambda: "ready" in program.new_output(), what="the program is ready")
    program.stop(100)
    assert (program.wait(0), program.ended_by) == (7, "stop")
    assert program.output_path.read_text() == "ready\ntidied up\n"


@pytest.mark.parametrize(
    ("code", "fields", "reason"),
    [
        pytest.param(
            "import time\ntime.sleep(600)", {"time_limit_s": 1.0}, "time_limit", id="time"
        ),
        pytest.param(
            "import time\nkept = []\n"
            "while True:\n    kept.append(bytearray(b'x' * 2**24))\n    time.sleep(0.01)",
            {"limits": RunLimits(memory_bytes=2**28)},
            "memory",
            id="memory",
        ),
        pytest.param(
            "import os, tempfile, time\nnumber = 0\n"
            "while True:\n"
            "    number += 1\n"
            "    with open(f'{tempfile.gettempdir()}/big{number}', 'wb') as file:\n"
            "        file.write(bytes(2**22))\n"
            "    time.sleep(0.01)",
            {"limits": RunLimits(disk_bytes=2**26)},
            "disk",
            id="disk",
        ),
    ],
)
def test_a_program_above_its_limit_is_ended(
    isolation: CommandIsolation,
    tmp_path: Path,
    marker: str,
    code: str,
    fields: dict[str, object],
    reason: str,
) -> None:
    """All of it is ended, with the limit as the reason."""
    program = isolation.start(python_run(tmp_path / "run", code, marker, **fields))
    assert exit_code(program) < 0
    assert program.ended_by == reason
    assert processes_with(marker) == []
    assert program.output_path.read_text().startswith("\nslidelane: ended, because it")


FILLS = """
import time
number = 0
while True:
    number += 1
    try:
        with open(f"{__import__('tempfile').gettempdir()}/{number}", "wb") as file:
            file.write(bytes(2**20))
    except OSError:
        pass
    time.sleep(0.01)
"""
ON_A_SMALL_DISK = """
import os, sys
from pathlib import Path
from tests.support.programs import exit_code, python_run
from worker import linux
from worker.programs.isolation.commands import CommandIsolation
from worker.programs.isolation.grants import Offer
code, folder = sys.argv[1:]
ids = {"uid_map": os.geteuid(), "gid_map": os.getegid()}
linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
Path("/proc/self/setgroups").write_text("deny")
for name, number in ids.items():
    Path("/proc/self", name).write_text(f"{number} {number} 1")
linux.mount("tmpfs", folder, "tmpfs", 0, "size=120m")
nothing = Offer(namespaces=False, own_network=False)
program = CommandIsolation(offer=nothing).start(python_run(Path(folder) / "run", code))
print(exit_code(program), program.ended_by)
"""


def test_a_program_that_fills_the_disk_is_ended_before_it_is_full(tmp_path: Path) -> None:
    """Without any limit of its own, as soon as less is free than is kept free for others."""
    if not offered().namespaces:
        pytest.skip("no namespaces are granted, so no small disk can be made")
    done = subprocess.run(
        [sys.executable, "-c", ON_A_SMALL_DISK, FILLS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "-9 disk\n", done.stderr


def test_a_gigabyte_of_output_is_cut(isolation: CommandIsolation, tmp_path: Path) -> None:
    """The beginning, what was left out, and the end; and it takes seconds."""
    code = """
        import sys
        print("first")
        line = "x" * (2**20 - 1) + "\\n"
        for _ in range(1024):
            sys.stdout.write(line)
        print("last")
    """
    began_at = monotonic()
    program = isolation.start(python_run(tmp_path / "run", code, max_output_bytes=2**20))
    assert exit_code(program) == 0
    assert monotonic() - began_at < 60
    text = program.output_path.read_text()
    assert 2**19 < len(text) <= 2**20
    assert text.startswith("first\nxxx")
    assert text.endswith("\nlast\n")
    assert "bytes and more are left out ..." in text


@pytest.mark.parametrize("granted", ["granted", "nothing"])
def test_a_killed_worker_leaves_nothing(granted: str, tmp_path: Path, marker: str) -> None:
    """Neither daemons nor the scratch folder are left when a worker is killed."""
    if granted == "granted" and not offered().namespaces:
        pytest.skip("no namespaces are granted")
    scratch = tmp_path / "run"
    code = f"{FORKS}\ntime.sleep(600)"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, granted, code, marker, str(scratch)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with worker, ended(worker):
        wait_for(lambda: len(processes_with(marker)) >= 7, what="the daemons run")
    wait_for(lambda: not processes_with(marker), what="everything has ended")
    wait_for(lambda: not scratch.exists(), what="the folder is gone")


def test_without_a_tmp_of_their_own_programs_take_turns(tmp_path: Path) -> None:
    """The second begins when the first has ended, and finds nothing of it under the fixed names."""
    isolation = CommandIsolation(offer=NOTHING)
    code = """
        import os, time
        assert not os.path.exists("/tmp/debug_info.txt")
        open("/tmp/debug_info.txt", "w").write("mine")
        print("began", time.monotonic(), flush=True)
        time.sleep(0.3)
        print("ended", time.monotonic())
    """
    programs = [isolation.start(python_run(tmp_path / name, code)) for name in ("a", "b")]
    times = sorted([float(word) for word in printed(program).split()[1::2]] for program in programs)
    assert times[0][1] <= times[1][0]
    assert not Path("/tmp/debug_info.txt").exists()


def test_output_is_followed_in_whole_lines(isolation: CommandIsolation, tmp_path: Path) -> None:
    """A secret that is printed in two parts arrives in one piece, and can be left out."""
    code = """
        import os, sys, time, tempfile
        sys.stdout.write("whole\\nhal")
        sys.stdout.flush()
        while not os.path.exists(f"{tempfile.gettempdir()}/go"):
            time.sleep(0.05)
        sys.stdout.buffer.write(b"f \\xff\\nrest")
    """
    program = isolation.start(python_run(tmp_path / "run", code))
    pieces = [wait_for(program.new_output, what="the first line")]
    (tmp_path / "run" / "tmp" / "go").touch()
    exit_code(program)
    pieces += [program.new_output() for _ in range(3)]
    assert pieces == ["whole\n", "half \ufffd\n", "rest", ""]
