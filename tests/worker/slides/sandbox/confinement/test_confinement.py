"""What a decoder process that a slide has taken over can do: nothing but decode.

Each attempt is made by code that runs in a real decoder process.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import OrderError
from tests.support.probing_decoder import ProbingSandbox, run_inside
from tests.support.slides import a_picture, a_slide
from worker.slides.sandbox.client import SandboxedSlide
from worker.slides.sandbox.confinement.confine import granted_confinement

GRANTED = granted_confinement()
with_landlock = pytest.mark.skipif(not GRANTED.landlock_abi, reason="the kernel has no Landlock")
with_seccomp = pytest.mark.skipif(not GRANTED.has_seccomp, reason="the kernel has no seccomp")
SYSCALL = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
RAISE = "\nif result < 0: raise OSError(ctypes.get_errno(), '')"
REFUSED = {
    f"{kind} {number}"
    for kind, number in [
        ("PermissionError", errno.EACCES),
        ("PermissionError", errno.EPERM),
        ("OSError", errno.ENOSYS),
    ]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the slide `a.svs`, another one, and another file."""
    folder = tmp_path_factory.mktemp("slides")
    for name in ("a.svs", "other.svs"):
        a_slide(folder / name, a_picture(300, 200))
    (folder / "notes.txt").write_text("of another patient")
    return folder


@pytest.fixture(scope="module")
def slide(folder: Path) -> Iterator[SandboxedSlide]:
    with ProbingSandbox(1).open(folder / "a.svs") as slide:
        yield slide


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socketpair()",
        "socket.create_connection(('127.0.0.1', 6379))",
    ],
)
@with_seccomp
def test_it_has_no_network(slide: SandboxedSlide, attempt: str) -> None:
    """Neither Redis nor anything else can be reached, by no kind of socket."""
    assert run_inside(slide, f"import socket\n{attempt}") in REFUSED


@pytest.mark.parametrize(
    "attempt",
    [
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run(['true'])",
        "os.fork()",
        "os.forkpty()",
        "os.memfd_create('program')",
    ],
)
@with_seccomp
def test_it_starts_no_process_and_no_program(slide: SandboxedSlide, attempt: str) -> None:
    """It has threads, and cannot multiply."""
    assert run_inside(slide, f"import os\n{attempt}") in REFUSED


@pytest.mark.parametrize(
    "call",
    [
        "101, 16, os.getppid(), 0, 0",  # ptrace: attach
        "310, os.getppid(), 0, 0, 0, 0, 0",  # process_vm_readv
        "311, os.getppid(), 0, 0, 0, 0, 0",  # process_vm_writev
        "434, os.getppid(), 0",  # pidfd_open
        "438, 3, 3, 0",  # pidfd_getfd
        "62, os.getppid(), 0",  # kill
        "200, os.getppid(), 0",  # tkill
        "234, os.getppid(), os.getppid(), 0",  # tgkill
        "129, os.getppid(), 0, 0",  # rt_sigqueueinfo
        "302, os.getppid(), 7, 0, 0",  # prlimit64
        "203, os.getppid(), 0, 0",  # sched_setaffinity
        "425, 8, 0",  # io_uring_setup
        "272, 0x10000000",  # unshare: a namespace of users
        "165, 0, 0, 0, 0, 0",  # mount
        "321, 0, 0, 0",  # bpf
        "298, 0, 0, 0, 0, 0",  # perf_event_open
        "323, 0",  # userfaultfd
        "250, 0, 0, 0, 0, 0",  # keyctl
        "46, 3, 0, 0",  # sendmsg
        "435, 0, 0",  # clone3
        "157, 4, 1, 0, 0, 0",  # prctl: PR_SET_DUMPABLE
    ],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@with_seccomp
def test_it_reaches_no_other_process_and_no_other_part_of_the_kernel(
    slide: SandboxedSlide, call: str
) -> None:
    """Not to read, write, trace, end or limit it; most ways out of sandboxes begin with such."""
    assert run_inside(slide, f"{SYSCALL}result = libc.syscall({call}){RAISE}") in REFUSED


@pytest.mark.parametrize("command", ["F_SETOWN", "F_SETSIG", "F_NOTIFY"])
@with_seccomp
def test_it_has_no_signal_sent_by_the_kernel(slide: SandboxedSlide, command: str) -> None:
    """The owner of a descriptor gets the signal that is chosen, SIGKILL for instance."""
    source = f"import fcntl, os\nfcntl.fcntl(1, fcntl.{command}, os.getppid())"
    assert run_inside(slide, source) in REFUSED


@pytest.mark.parametrize(
    "attempt",
    [
        "open('{folder}/a.svs', 'r+b')",
        "open('{folder}/new', 'wb')",
        "os.open('{folder}', os.O_TMPFILE | os.O_WRONLY)",
        "os.open('{folder}/a.svs', os.O_RDONLY | os.O_TRUNC)",
        "os.truncate('{folder}/a.svs', 0)",
        "os.unlink('{folder}/a.svs')",
        "os.rename('{folder}/a.svs', '{folder}/b.svs')",
        "os.link('{folder}/a.svs', '{folder}/b.svs')",
        "os.symlink('/', '{folder}/b.svs')",
        "os.mkdir('{folder}/b')",
        "os.chmod('{folder}/a.svs', 0o777)",
        "os.utime('{folder}/a.svs')",
        "os.setxattr('{folder}/a.svs', 'user.a', b'')",
        "os.mkfifo('{folder}/b')",
        "os.chdir('/')",
        "os.chroot('/')",
    ],
)
@with_seccomp
def test_it_writes_nothing(slide: SandboxedSlide, folder: Path, attempt: str) -> None:
    """Neither the slide nor anything else."""
    assert run_inside(slide, f"import os\n{attempt.format(folder=folder)}") in REFUSED


@with_landlock
def test_it_reads_its_slide_and_no_other_file(slide: SandboxedSlide, folder: Path) -> None:
    """Not the slide of another patient beside it, not even the names of such."""
    assert run_inside(slide, f"result = len(open('{folder}/a.svs', 'rb').read()) > 0") == "True"
    for other in (folder / "other.svs", folder / "notes.txt", "/etc/passwd", __file__):
        assert run_inside(slide, f"open('{other}', 'rb')") in REFUSED
    for other in (folder, "/", "/tmp"):
        assert run_inside(slide, f"import os\nos.listdir('{other}')") in REFUSED


@pytest.mark.parametrize("name", ["environ", "mem", "maps", "cmdline", "fd/0"])
@with_landlock
def test_it_does_not_look_into_other_processes(slide: SandboxedSlide, name: str) -> None:
    """Of its worker it gets neither the memory nor the secrets in the environment."""
    for process_id in (os.getpid(), "self", 1):
        assert run_inside(slide, f"open('/proc/{process_id}/{name}', 'rb')") in REFUSED


@with_landlock
def test_it_may_load_what_decoding_takes(slide: SandboxedSlide) -> None:
    """A module of Python, a library of the system, and threads."""
    assert run_inside(slide, "import encodings.iso2022_kr as result").startswith("<module")
    assert run_inside(slide, "import imagecodecs._jpegxl as result").startswith("<module")
    source = "import threading; t = threading.Thread(target=str); t.start(); t.join()"
    assert run_inside(slide, source) == "done"


def test_it_has_no_right_to_more(slide: SandboxedSlide) -> None:
    """No capability of root is left, and no program that it executed could bring one back."""
    lines = Path(f"/proc/{slide.process_id}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff"):
        assert int(fields[name], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    if GRANTED.has_seccomp:
        assert fields["Seccomp"] == "2"
    assert os.getsid(slide.process_id) == slide.process_id


@with_seccomp
def test_it_can_still_end_as_libraries_do(tmp_path: Path) -> None:
    """`abort` sends a signal to the process itself, which tells what its end means."""
    path = a_slide(tmp_path / "a.svs", a_picture(64, 64))
    with (
        ProbingSandbox(1).open(path) as slide,
        pytest.raises(OrderError, match=signal.SIGABRT.name),
    ):
        run_inside(slide, "import os\nos.abort()")


WITHOUT = """
import errno, struct, ctypes, sys
from pathlib import Path
from worker import linux
from worker.slides.sandbox.client import Sandbox
from worker.slides.sandbox.confinement.confine import granted_confinement
from worker.slides.sandbox.confinement.system_calls import SECCOMP
import os
refused = [444, SECCOMP[os.uname().machine]]
program = [(0x20, 0, 0, 0), (0x15, 1, 0, refused[0]), (0x15, 0, 1, refused[1]),
           (0x06, 0, 0, 0x50000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("=HBBI", *one) for one in program)
address = ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p).value
linux.forbid_new_privileges()
linux.system_call(refused[1], 1, 0, struct.pack("@HP", len(program), address))
print(granted_confinement())
with Sandbox(1).open(Path(sys.argv[1])) as slide:
    print(slide.frame.width)
"""


@with_seccomp
def test_where_the_kernel_grants_nothing_slides_are_read_all_the_same(tmp_path: Path) -> None:
    """As in a container whose own filter refuses these calls. What is lacking is said."""
    path = a_slide(tmp_path / "a.svs", a_picture(300, 200))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(path)], capture_output=True, text=True, check=False
    )
    grants, width = done.stdout.splitlines() or [done.stderr, ""]
    assert "no Landlock" in grants
    assert "no seccomp" in grants
    assert width == "300", done.stderr
