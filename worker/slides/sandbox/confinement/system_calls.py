"""The numbers of the system calls that a decoder process may make, by architecture.

From <asm/unistd_64.h> of x86-64 and <asm-generic/unistd.h>, which AArch64 follows. None where an
architecture has no such call.
"""

from typing import Final

ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_… of <linux/audit.h> by the name of the machine: uname(2)."""

SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
"""seccomp(2)."""

# The most frequent calls come first, for the filter looks through them in this order.
_ANYHOW: Final[dict[str, tuple[int | None, int | None]]] = {
    # messages and waiting
    "futex": (202, 98),
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "read": (0, 63),
    "write": (1, 64),
    "pread64": (17, 67),
    "lseek": (8, 62),
    "readv": (19, 65),
    "preadv": (295, 69),
    "writev": (20, 66),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    # memory
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    # files that are open, and what a file is
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "stat": (4, None),
    "lstat": (6, None),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents": (78, None),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "fadvise64": (221, 223),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    # threads of this process
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "set_tid_address": (218, 96),
    "arch_prctl": (158, None),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "membarrier": (324, 283),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # handlers of its own signals
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    # the time, random numbers, and what this process is
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "times": (100, 153),
    "sysinfo": (99, 179),
    "uname": (63, 160),
}
_WITH_ARGUMENTS: Final[dict[str, tuple[int | None, int | None]]] = {
    "openat": (257, 56),
    "open": (2, None),
    "clone": (56, 220),
    "fcntl": (72, 25),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
}


def allowed(machine: str) -> list[int]:
    """Return the numbers of the calls that are allowed whatever their arguments are."""
    return list(_numbers(_ANYHOW, machine).values())


def with_arguments(machine: str) -> dict[str, int]:
    """Return the names and numbers of the calls that are allowed with some arguments."""
    return _numbers(_WITH_ARGUMENTS, machine)


def _numbers(calls: dict[str, tuple[int | None, int | None]], machine: str) -> dict[str, int]:
    column = list(ARCHITECTURES).index(machine)
    numbers = {}
    for name, columns in calls.items():
        number = columns[column]
        if number is not None:
            numbers[name] = number
    return numbers
