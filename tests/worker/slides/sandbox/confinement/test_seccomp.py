"""The filter of system calls on both architectures, run by an interpreter of its program."""

import errno
import os
import struct

import pytest

from worker.slides.sandbox.confinement import system_calls
from worker.slides.sandbox.confinement.seccomp import Instruction, program

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
OWN = 4711


def verdict(instructions: list[Instruction], architecture: int, call: int, *arguments: int) -> int:
    """What the kernel does with this call: seccomp(2), struct seccomp_data."""
    six = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", call, architecture, 0, *six)
    loaded = 0
    place = 0
    while True:
        code, if_true, if_false, k = instructions[place]
        place += 1
        match code:
            case 0x20:
                loaded = struct.unpack_from("<I", data, k)[0]
            case 0x05:
                place += k
            case 0x15:
                place += if_true if loaded == k else if_false
            case 0x45:
                place += if_true if loaded & k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(code)


def decide(machine: str, call: int, *arguments: int) -> int:
    architecture = system_calls.ARCHITECTURES[machine]
    return verdict(program(machine, OWN), architecture, call, *arguments)


MACHINES = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
# socket, connect, sendmsg, recvmsg, execve, execveat, ptrace, process_vm_readv, kill, tkill,
# clone3, unshare, mount, setns, bpf, io_uring_setup, pidfd_open, openat2, memfd_create, unlinkat
REFUSED = {
    "x86_64": (41, 42, 46, 47, 59, 322, 101, 310, 62, 200, 435, 272, 165, 308, 321, 425, 434, 437, 319, 263, 57, 58),
    "aarch64": (198, 203, 211, 212, 221, 281, 117, 270, 129, 130, 435, 97, 40, 268, 280, 425, 434, 437, 279, 35),
}  # fmt: skip
NUMBERS = {
    "x86_64": {"openat": 257, "clone": 56, "fcntl": 72, "prctl": 157, "prlimit64": 302, "tgkill": 234},
    "aarch64": {"openat": 56, "clone": 220, "fcntl": 25, "prctl": 167, "prlimit64": 261, "tgkill": 131},
}  # fmt: skip


@MACHINES
def test_calls_that_decoding_does_not_take_do_not_exist(machine: str) -> None:
    """So that libraries fall back as on an old kernel; forks are among them."""
    for call in REFUSED[machine]:
        assert decide(machine, call) == ERRNO | errno.ENOSYS


@MACHINES
def test_every_number_that_is_not_listed_is_refused(machine: str) -> None:
    """Also those of kernels to come, and those of x32 on the same machine."""
    listed = {*system_calls.allowed(machine), *system_calls.with_arguments(machine).values()}
    for call in {*range(1000), *range(0x40000000, 0x40000400)} - listed:
        assert decide(machine, call) == ERRNO | errno.ENOSYS
    for call in system_calls.allowed(machine):
        assert decide(machine, call) == ALLOW


@MACHINES
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    """Of a 32-bit program, whose numbers mean other calls."""
    for other in {0x40000003, 0x40000028, *system_calls.ARCHITECTURES.values()}:
        if other != system_calls.ARCHITECTURES[machine]:
            assert verdict(program(machine, OWN), other, 0) == KILL


@MACHINES
def test_files_are_opened_for_reading_only(machine: str) -> None:
    """Whatever other flags are given."""
    openat = NUMBERS[machine]["openat"]
    for flags in (os.O_RDONLY, os.O_CLOEXEC, os.O_RDONLY | os.O_NONBLOCK):
        assert decide(machine, openat, 2**32 - 100, 1, flags) == ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_CLOEXEC, os.O_CREAT, os.O_RDONLY | os.O_TRUNC):
        assert decide(machine, openat, 2**32 - 100, 1, flags) == ERRNO | errno.EACCES


@MACHINES
def test_arguments_decide_about_calls_that_reach_others(machine: str) -> None:
    """Threads but no processes, signals to itself, limits of its own, locks but no owners."""
    numbers = NUMBERS[machine]
    refused = ERRNO | errno.EACCES
    assert decide(machine, numbers["clone"], 0x3D0F00) == ALLOW  # as glibc starts a thread
    assert decide(machine, numbers["clone"], 0x1200011) == refused  # as glibc forks
    assert decide(machine, numbers["tgkill"], OWN, 1, 6) == ALLOW
    assert decide(machine, numbers["tgkill"], OWN + 1, 1, 6) == refused
    assert decide(machine, numbers["prlimit64"], 0, 7) == ALLOW
    assert decide(machine, numbers["prlimit64"], OWN, 7) == refused
    assert decide(machine, numbers["fcntl"], 3, 6) == ALLOW  # F_SETLK
    assert decide(machine, numbers["fcntl"], 3, 8, 1) == refused  # F_SETOWN
    assert decide(machine, numbers["fcntl"], 3, 10, 9) == refused  # F_SETSIG
    assert decide(machine, numbers["prctl"], 15) == ALLOW  # PR_SET_NAME
    assert decide(machine, numbers["prctl"], 1, 0) == refused  # PR_SET_PDEATHSIG
