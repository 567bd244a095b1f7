"""A filter of system calls: this process makes only those that decoding takes. See seccomp(2).

An allow list, because the kernel gets new calls with every version and one that is not known here
must not be a way out. A call that is not listed fails with ENOSYS, as on a kernel that does not
have it, so that libraries fall back to another one. One with refused arguments fails with EACCES.

The filter is a program for the kernel's packet filter (BPF): instructions that load a word of the
call's description into the accumulator, compare it, jump forward or return a verdict.
"""

import ctypes
import errno
import fcntl
import os
import platform
import struct
import sys
from collections.abc import Iterable
from typing import Final

from worker.linux import system_call
from worker.slides.sandbox.confinement import system_calls

# <linux/bpf_common.h>
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS: the word at the offset `k`
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA: over `k` instructions
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_IF_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

# <linux/seccomp.h>
_SET_MODE_FILTER: Final = 1
_GET_ACTION_AVAIL: Final = 2
# Without this flag, kernels before 5.16 slow the process down against speculative reads of its own
# memory. There is nothing in it that its slide must not see.
_FLAG_SPEC_ALLOW: Final = 1 << 2
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_ERRNO: Final = 0x00050000
_REFUSE: Final = _ERRNO | errno.EACCES
_UNKNOWN: Final = _ERRNO | errno.ENOSYS

# Offsets in struct seccomp_data. Of an argument the lower half, which is the first of the two on
# both architectures; the kernel itself looks at no more of those that are compared here.
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16

_CLONE_THREAD: Final = 0x10000
_PR_SET_NAME: Final = 15
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Not F_SETOWN and F_SETSIG: with these the kernel sends signals to other processes.
_FILE_COMMANDS: Final = (
    fcntl.F_DUPFD,
    fcntl.F_DUPFD_CLOEXEC,
    fcntl.F_GETFD,
    fcntl.F_SETFD,
    fcntl.F_GETFL,
    fcntl.F_SETFL,
    fcntl.F_GETLK,
    fcntl.F_SETLK,  # SQLite locks a slide of Sakura for reading
)

Instruction = tuple[int, int, int, int]
"""The code, how many instructions to jump over if true and if false, and the constant `k`."""


def is_available() -> bool:
    """Return whether the kernel filters system calls, of an architecture that is known here."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in system_calls.ARCHITECTURES:
        return False
    action = struct.pack("=I", _ERRNO)
    try:
        system_call(system_calls.SECCOMP[machine], _GET_ACTION_AVAIL, 0, action)
    except OSError:
        return False
    return True


def restrict_calls() -> None:
    """Let this process make the system calls that decoding takes, and no others.

    Only threads that start later are restricted, too. Does nothing where the kernel has no such
    filters. Raises `OSError`.
    """
    if not is_available():
        return
    machine = platform.machine()
    instructions = program(machine, os.getpid())
    # struct sock_filter[]: code, jt, jf, k; struct sock_fprog: their number and address
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    address = ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p).value
    filter_program = struct.pack("@HP", len(instructions), address)
    number = system_calls.SECCOMP[machine]
    try:
        system_call(number, _SET_MODE_FILTER, _FLAG_SPEC_ALLOW, filter_program)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        system_call(number, _SET_MODE_FILTER, 0, filter_program)  # it does not know the flag


def program(machine: str, process_id: int) -> list[Instruction]:
    """Return the filter for a process of this id on this kind of machine."""
    number_of = system_calls.with_arguments(machine)
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        # The 32-bit calls of the same machine have other numbers.
        (_JUMP_IF_EQUAL, 1, 0, system_calls.ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    instructions += _allow(system_calls.allowed(machine))
    instructions += _refuse_bits(number_of["openat"], 2, _WRITING)
    if "open" in number_of:
        instructions += _refuse_bits(number_of["open"], 1, _WRITING)
    instructions += _demand_bit(number_of["clone"], 0, _CLONE_THREAD)
    instructions += _demand_value(number_of["fcntl"], 1, _FILE_COMMANDS)
    instructions += _demand_value(number_of["prctl"], 0, [_PR_SET_NAME])
    instructions += _demand_value(number_of["prlimit64"], 0, [0])  # 0: of this process
    instructions += _demand_value(number_of["tgkill"], 0, [process_id])
    instructions.append((_RETURN, 0, 0, _UNKNOWN))
    return instructions


def _allow(numbers: list[int]) -> list[Instruction]:
    """Allow these calls, and go on behind with all others."""
    instructions: list[Instruction] = []
    for place, number in enumerate(numbers):
        instructions.append((_JUMP_IF_EQUAL, len(numbers) - place, 0, number))
    return [*instructions, (_JUMP, 0, 0, 1), (_RETURN, 0, 0, _ALLOW)]


def _refuse_bits(number: int, argument: int, bits: int) -> list[Instruction]:
    """Allow the call unless any of the bits is set in the argument."""
    return _check(
        number,
        argument,
        [(_JUMP_IF_ANY_BIT, 0, 1, bits), (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)],
    )


def _demand_bit(number: int, argument: int, bit: int) -> list[Instruction]:
    """Allow the call if the bit is set in the argument."""
    return _check(
        number,
        argument,
        [(_JUMP_IF_ANY_BIT, 1, 0, bit), (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)],
    )


def _demand_value(number: int, argument: int, values: Iterable[int]) -> list[Instruction]:
    """Allow the call if the argument is one of the values."""
    checks: list[Instruction] = []
    for value in values:
        checks += [(_JUMP_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return _check(number, argument, [*checks, (_RETURN, 0, 0, _REFUSE)])


def _check(number: int, argument: int, checks: list[Instruction]) -> list[Instruction]:
    """Run the checks of an argument if the call has this number; else jump over them."""
    load = (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)
    return [(_JUMP_IF_EQUAL, 0, len(checks) + 1, number), load, *checks]
