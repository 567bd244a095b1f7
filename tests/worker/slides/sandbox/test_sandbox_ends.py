"""However a decoder process ends, the worker goes on and blames the right one."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from broker.errors import OrderError, TemporaryError
from tests.support.slides import a_picture, a_slide
from worker.geometry.frame import Pixels
from worker.progress import StopWork
from worker.slides.sandbox.client import Sandbox, SandboxedSlide


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_slide(tmp_path / "a.svs", a_picture(300, 200))


def read(slide: SandboxedSlide, edge: int = 64) -> Pixels:
    region = np.empty((edge, edge, 3), np.uint8)
    slide.fill(region, 0, 0, 1, 1)
    return region


def wait_until_ended(process_id: int) -> None:
    """Wait until the process does not exist, or is a zombie."""
    tick = threading.Event()
    while not tick.wait(0.01):
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return


def stop(process_id: int) -> None:
    """Stop the process, and wait until none of its threads runs."""
    os.kill(process_id, signal.SIGSTOP)
    tick = threading.Event()
    while "T (stopped)" not in Path(f"/proc/{process_id}/status").read_text():
        tick.wait(0.01)


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_of_the_decoder_is_the_slides_fault_alone(
    path: Path, crash: signal.Signals
) -> None:
    """Waiting and later reads raise the error; the next slide opens as usual."""
    sandbox = Sandbox(2)
    with sandbox.open(path) as slide:
        stop(slide.process_id)
        with ThreadPoolExecutor(2) as pool:
            # so large that no thread of the process has answered before another one gets the signal
            waiting = [pool.submit(read, slide, 2048) for _ in range(2)]
            os.kill(slide.process_id, crash)
            os.kill(slide.process_id, signal.SIGCONT)
            faults = [future.exception() for future in waiting]
        with pytest.raises(OrderError) as late:
            read(slide)
    for fault in [*faults, late.value]:
        assert isinstance(fault, OrderError)
        assert (fault.code, fault.problem.blame) == ("slide_unreadable", "input")
        assert crash.name in fault.detail
        assert ("memory" in fault.detail) == (crash == signal.SIGABRT)
    with sandbox.open(path) as slide:
        assert read(slide).any()


def test_who_kills_the_process_from_outside_does_not_blame_the_slide(path: Path) -> None:
    """The kernel does when memory is short, which is worth another try."""
    with Sandbox(1).open(path) as slide:
        os.kill(slide.process_id, signal.SIGKILL)
        with pytest.raises(TemporaryError, match="SIGKILL"):
            read(slide)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_that_is_told_to_leave_may_finish_its_slide(
    path: Path, number: signal.Signals
) -> None:
    """Such a signal often reaches all processes; this one ends with its worker."""
    with Sandbox(1).open(path) as slide:
        os.kill(slide.process_id, number)
        assert read(slide).any()


def test_a_server_that_starts_is_not_ended_by_a_stop_of_its_worker(path: Path) -> None:
    """It ignores the signals from its first moment on, before it has read its program."""
    sandbox = Sandbox(1)
    sandbox.prepare()
    server = sandbox._server
    assert server
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(server.id, number)
    with sandbox.open(path) as slide:
        assert sandbox._server is server
        assert read(slide).shape == (64, 64, 3)


def test_a_decoder_that_hangs_is_ended(path: Path) -> None:
    """After the time limit of a read it is killed; later reads raise the same error."""
    sandbox = Sandbox(1, read_s=3)  # the time is for a read, and not for the start of the server
    with sandbox.open(path) as slide:
        os.kill(slide.process_id, signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(OrderError, match=r"longer than 3 s"):
                read(slide)


def test_a_decoder_that_wants_too_much_memory_gets_none(tmp_path: Path) -> None:
    """An image within the limit of pixels but above that of memory is refused."""
    Image.new("1", (16000, 16000)).save(tmp_path / "a.png")
    with (
        pytest.raises(OrderError, match="memory") as caught,
        Sandbox(1, max_bytes=2**29).open(tmp_path / "a.png"),
    ):
        pass
    assert caught.value.code == "slide_unreadable"


def children() -> set[int]:
    return {
        int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    }


def test_a_server_that_died_is_not_asked(path: Path) -> None:
    """The kernel may have killed it while it was idle."""
    sandbox, others = Sandbox(1), children()
    sandbox.prepare()
    (server,) = servers = children() - others
    os.kill(server, signal.SIGKILL)
    wait_until_ended(server)
    with sandbox.open(path) as slide:
        assert read(slide).any()
        assert len(children() - others - servers) == 1


def test_a_server_that_was_prepared_forks_for_every_slide(path: Path) -> None:
    """Only one is started, however often `prepare` is called, and it is loaded once."""
    sandbox, others = Sandbox(1), children()
    sandbox.prepare()
    sandbox.prepare()
    (server,) = children() - others
    for _ in range(2):
        with sandbox.open(path) as slide:
            assert parent(slide.process_id) == server
            assert read(slide).any()
    assert children() - others == {server}


def parent(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV])
def test_the_end_of_the_server_does_not_blame_the_slide(path: Path, end: signal.Signals) -> None:
    """A slide that is being read is worth another try, and the next one gets a new server."""
    sandbox = Sandbox(1)
    with sandbox.open(path) as slide:
        server = parent(slide.process_id)
        os.kill(slide.process_id, signal.SIGSTOP)  # it must not be quicker than its end
        os.kill(server, end)
        wait_until_ended(server)
        os.kill(slide.process_id, signal.SIGKILL)
        with pytest.raises(TemporaryError, match="ended from outside"):
            read(slide)
    with sandbox.open(path) as slide:
        assert parent(slide.process_id) != server
        assert read(slide).any()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_that_is_told_to_leave_may_open_its_slide(
    path: Path, number: signal.Signals
) -> None:
    """Such a signal reaches the server, too."""
    sandbox = Sandbox(1)
    with sandbox.open(path) as slide:
        server = parent(slide.process_id)
    os.kill(server, number)
    with sandbox.open(path) as slide:
        assert parent(slide.process_id) == server


def test_the_server_has_one_thread_and_no_library_of_the_worker(path: Path) -> None:
    """What a process has while it forks its child gets: a lock that another thread held, a secret."""
    sandbox = Sandbox(1)
    with sandbox.open(path) as slide:
        server = Path(f"/proc/{parent(slide.process_id)}")
        loaded = (server / "maps").read_text()
        assert len(list((server / "task").iterdir())) == 1
        held = [link.readlink().as_posix() for link in (server / "fd").iterdir()]
    assert not [name for name in ("libtorch", "hiredis", "cv2", "_ctypes_test") if name in loaded]
    assert str(path.resolve()) not in held


def test_many_slides_at_once_are_each_in_a_process_of_their_own(path: Path) -> None:
    """A courier's threads open slides at the same time; one that crashes costs no other."""
    sandbox = Sandbox(2)
    together = threading.Barrier(12, timeout=60)

    def read_one(number: int) -> int:
        with sandbox.open(path) as slide:
            together.wait()
            if number == 0:
                os.kill(slide.process_id, signal.SIGSEGV)
                wait_until_ended(slide.process_id)
                with pytest.raises(OrderError, match="SIGSEGV"):
                    read(slide)
            together.wait()
            if number:
                assert read(slide).any()
            return slide.process_id

    with ThreadPoolExecutor(12) as pool:
        processes = list(pool.map(read_one, range(12)))
    assert len(set(processes)) == 12
    for process_id in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)


def test_an_installation_that_cannot_start_it_does_not_blame_the_slide(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that cannot be loaded is a fault of the installation."""
    (tmp_path / "numpy.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="does not start"), Sandbox(1).open(path):
        pass


def stopped_in_a_read(sandbox: Sandbox, path: Path, pool: ThreadPoolExecutor) -> Future[Pixels]:
    """Return the read that was in progress when the slide was closed."""
    with suppress(StopWork), sandbox.open(path) as slide:
        os.kill(slide.process_id, signal.SIGSTOP)
        reading = pool.submit(read, slide)
        raise StopWork("cancelled")
    return reading


def test_leaving_ends_the_process_at_once_and_leaves_no_file_open(path: Path) -> None:
    """Also if work stops during a read that would never end, and after many slides."""
    sandbox = Sandbox(2)
    with sandbox.open(path):
        pass
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(1) as pool:
        assert isinstance(
            stopped_in_a_read(sandbox, path, pool).exception(timeout=10), TemporaryError
        )
    for _ in range(3):
        with sandbox.open(path) as slide:
            pass
        with pytest.raises(ProcessLookupError):
            os.kill(slide.process_id, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


LEFT_BEHIND = """
import os, sys
from pathlib import Path
from worker.slides.sandbox.client import Sandbox
sandbox = Sandbox(1)
with sandbox.open(Path(sys.argv[1])) as slide:
    server = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    print(server, slide.process_id, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_the_processes_end_with_their_worker(path: Path) -> None:
    """After a worker is killed no process remains: no decoder, and not its server."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT_BEHIND, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    left = [int(number) for number in done.stdout.split()]
    assert len(left) == 2
    for process_id in left:
        wait_until_ended(process_id)
