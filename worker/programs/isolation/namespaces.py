"""Namespaces of Linux for one program: what it sees of files, processes and the network.

Root may make them; for any other user, a user namespace of its own is made first, in which its id
is what it is outside. Made by system calls instead of unshare(1): between the new mount namespace
and the program there are files to show, paths to hide and sockets to open, each of which may be
refused for a reason that `slidelane doctor` repeats; and images without util-linux have them, too.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from worker import linux
from worker.programs.isolation.request import Bind, Request

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_GPU_DEVICES: Final = ("kfd", "dri", "dxg")
_NVIDIA: Final = "nvidia*"
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_HIDDEN: Final = (
    # sockets through which a program could have others run something for it
    "/run/docker.sock",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/dbus",
    "/run/systemd/private",
    "/run/user",
    # would answer for names of hosts before /etc/hosts is looked into
    "/run/nscd",
    "/run/systemd/resolve/io.systemd.Resolve",
)
_READ_ONLY_IN_PROC: Final = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
_SET_INTERFACE_FLAGS: Final = 0x8914  # SIOCSIFFLAGS
_INTERFACE_IS_UP: Final = 1  # IFF_UP
_NO_SUID: Final = linux.MS_NOSUID | linux.MS_NODEV


class RefusedError(Exception):
    """The system does not grant a step; the message says which one and why."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Raise RefusedError with the step's name in place of OSError."""
    try:
        yield
    except OSError as error:
        raise RefusedError(f"{name}: {error.strerror}") from None


def enter_process_namespace() -> None:
    """Have the next child be the first process of a new PID namespace. Raises RefusedError.

    This process gets a user namespace where the other one takes rights that it does not have. It
    must have no threads, and can start none afterwards.
    """
    try:
        linux.unshare(linux.CLONE_NEWPID)
    except PermissionError:
        user_id = os.geteuid()
        group_id = os.getegid()
        with step("user namespace"):
            linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWPID)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/gid_map").write_text(f"{group_id} {group_id} 1")
            Path("/proc/self/uid_map").write_text(f"{user_id} {user_id} 1")
    except OSError as error:
        raise RefusedError(f"PID namespace: {error.strerror}") from None


def enter_file_namespace(request: Request) -> None:
    """Give this process its own view of all files. Raises RefusedError.

    To be called in the first process of a PID namespace. Everything becomes read-only but what the
    request shows as writable and the memory at /dev/shm.
    """
    with step("mount namespace"):
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC)
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    with step("copies of mounts, which Linux has since 5.2"):
        # Before anything covers the sources.
        shown = [_Shown(bind) for bind in request.binds]
        devices = _copied_devices(with_gpus=request.gpus)
    with step("read-only mounts, which Linux has since 5.12"):
        linux.restrict_tree("/", linux.MOUNT_ATTR_RDONLY)
    with step("/proc of its own"):
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", "/proc", "proc", flags)
        _protect_kernel_settings()
    with step("/dev of its own"):
        _make_devices(devices, request.memory_bytes)
    with step("what is hidden"):
        hidden = _hide([*_HIDDEN, *request.hidden])
    for one in shown:
        one.attach()
    with step("what is hidden"):
        for folder in hidden:
            linux.restrict_tree("", linux.MOUNT_ATTR_RDONLY, tree=folder, recursive=False)
            os.close(folder)


def enter_network_namespace(listen: Iterable[tuple[str, int]]) -> list[socket.socket]:
    """Give this process a network that has loopback alone; return sockets that listen there.

    They can be used by any process that gets them. Raises RefusedError.
    """
    with step("network namespace"):
        linux.unshare(linux.CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            # struct ifreq: the name, then the flags
            raised = struct.pack("=16sH22x", b"lo", _INTERFACE_IS_UP)
            fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, raised)
    listeners = []
    for host, port in listen:
        with step(f"listening on {host}:{port}"):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listeners.append(socket.create_server((host, port), family=family, backlog=128))
    return listeners


def _copied_devices(*, with_gpus: bool) -> dict[Path, tuple[int, bool]]:
    """Return a copy of each device that a program may need, and whether it is a folder of some."""
    paths = [Path("/dev", name) for name in _DEVICES]
    if with_gpus:
        paths += [Path("/dev", name) for name in _GPU_DEVICES]
        paths += sorted(Path("/dev").glob(_NVIDIA))
    return {path: (linux.copied_tree(str(path)), path.is_dir()) for path in paths if path.exists()}


def _make_devices(devices: dict[Path, tuple[int, bool]], memory_bytes: int | None) -> None:
    """Put a folder in place of /dev that holds these devices, terminals and shared memory."""
    linux.mount("tmpfs", "/dev", "tmpfs", linux.MS_NOSUID, "size=65536,mode=755")
    for path, (tree, is_folder) in devices.items():
        if is_folder:
            path.mkdir()
        else:
            path.touch()
        linux.attach_tree(tree, str(path))
        os.close(tree)
    for name, target in _DEVICE_LINKS.items():
        Path("/dev", name).symlink_to(target)
    for name in ("shm", "pts"):
        Path("/dev", name).mkdir()
    linux.restrict_tree("/dev", linux.MOUNT_ATTR_RDONLY)
    options = "mode=1777"  # and half of the machine's memory
    if memory_bytes is not None:
        options += f",size={memory_bytes}"
    linux.mount("tmpfs", "/dev/shm", "tmpfs", _NO_SUID, options)  # noqa: S108 - its own
    with suppress(OSError):  # only programs that talk to a terminal miss it
        linux.mount("devpts", "/dev/pts", "devpts", linux.MS_NOSUID, "newinstance,ptmxmode=0666")


def _protect_kernel_settings() -> None:
    """Keep a program of root from settings of the kernel that need no capability."""
    for path in _READ_ONLY_IN_PROC:
        if Path(path).exists():
            tree = linux.copied_tree(path)
            linux.restrict_tree("", linux.MOUNT_ATTR_RDONLY, tree=tree)
            linux.attach_tree(tree, path)
            os.close(tree)


def _hide(paths: Iterable[str]) -> list[int]:
    """Put an empty folder over each folder, and an empty file over anything else that is there.

    Return descriptors of the empty folders, in which places for what is shown can be made.
    """
    folders = []
    for path in map(os.path.realpath, paths):
        if os.path.isdir(path):  # noqa: PTH112
            linux.mount("tmpfs", path, "tmpfs", _NO_SUID, "size=65536,mode=555")
            # By its path it may be out of sight later, below the program's own /tmp.
            folders.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        elif os.path.exists(path):  # noqa: PTH110
            empty_file = linux.copied_tree("/dev/null")
            linux.attach_tree(empty_file, path)
            os.close(empty_file)
    return folders


class _Shown:
    """A file or folder that is to be shown at its target."""

    def __init__(self, bind: Bind) -> None:
        self._bind = bind
        self._is_folder = Path(bind.source).is_dir()
        self._tree = linux.copied_tree(bind.source)

    def attach(self) -> None:
        """Show it at its target, which is made where it can be; else leave it out."""
        attributes = linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV
        if not self._bind.writable:
            attributes |= linux.MOUNT_ATTR_RDONLY
        target = Path(self._bind.target)
        with step(f"showing {target}"):
            linux.restrict_tree("", attributes, tree=self._tree)
            if target.exists() or self._was_made(target):
                linux.attach_tree(self._tree, os.path.realpath(target))
            os.close(self._tree)

    def _was_made(self, target: Path) -> bool:
        """Make an empty folder or file to attach to; return whether that was possible."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if self._is_folder:
                target.mkdir()
            else:
                target.touch()
        except OSError:
            return False
        return True
