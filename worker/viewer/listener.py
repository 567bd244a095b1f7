"""The socket on which the viewer is asked: in the data folder, or on a TCP port."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from broker.data_folder import make_private
from broker.settings.config import Config, ConfigError
from broker.settings.viewer import viewer_socket

_BACKLOG: Final = 512
_OWNER_ONLY: Final = 0o600


@contextmanager
def listening(config: Config) -> Iterator[socket.socket]:
    """Yield the listening socket of the settings, closed at the end. Raise `ConfigError`."""
    if config.worker.viewer.bind:
        with _port(*config.worker.viewer.host_and_port) as listener:
            yield listener
        return
    path = viewer_socket(config.broker.data)
    try:
        make_private(config.broker.data)
        make_private(path.parent)
        _require_own(path.parent)
        listener = _socket_at(path)
        inode = path.stat().st_ino
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"the viewer cannot listen on {path} ({reason}); see broker.data"
        ) from None
    with listener:
        try:
            yield listener
        finally:
            with suppress(OSError):
                if path.stat().st_ino == inode:  # else another viewer has taken the name over
                    path.unlink()


def _socket_at(path: Path) -> socket.socket:
    """Return a listening socket that only its owner reaches. Raise `OSError`.

    It gets its name once it listens: others never reach it, and the name that a killed viewer left
    is replaced.
    """
    unnamed = path.with_name(f"{path.name}.{os.getpid()}")
    unnamed.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(unnamed))
        unnamed.chmod(_OWNER_ONLY)
        listener.listen(_BACKLOG)
        unnamed.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _require_own(folder: Path) -> None:
    """Raise `OSError` for a folder of another user, who could put another socket there."""
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(None, f"{folder} belongs to somebody else")


def _port(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Raise `ConfigError`."""
    try:
        listener = socket.create_server(
            (host, port), family=_family(host), backlog=_BACKLOG, reuse_port=False
        )
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"nothing can listen on {host}:{port} ({reason}); see worker.viewer.bind"
        ) from None
    # asyncio sets TCP_NODELAY only on sockets that it made itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _family(host: str) -> socket.AddressFamily:
    if ":" in host:
        return socket.AF_INET6
    return socket.AF_INET
