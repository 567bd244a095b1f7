"""What the benchmarks stand on: a Redis of their own and processes beside it, all gone with the context."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import redis

from broker.order_store.embedded_redis import EmbeddedRedis
from broker.settings.config import CONFIG_VARIABLE, PREFIX, BrokerSettings

ROOT = Path(__file__).resolve().parents[1]


class Bed:
    """A Redis as `make serve` runs it, and the processes that work on it; their lines go to `<folder>/NAME.log`."""

    def __init__(self) -> None:
        self._kept = tempfile.TemporaryDirectory(prefix="slidelane-bench-")
        self.folder = Path(self._kept.name).resolve()
        self._server = EmbeddedRedis(BrokerSettings(data=self.folder))
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        (self.folder / "config.json").write_text("{}")
        self._url = self._server.start()
        return self

    def __exit__(
        self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._server.stop()
        self._kept.cleanup()

    def url(self, database: int) -> str:
        """The server's URL with this database. Slidelane on it takes the one behind it too."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def client(self, database: int) -> Any:
        """A plain client, for what no part of Slidelane answers."""
        return redis.Redis.from_url(self.url(database), decode_responses=True)

    def settings(self, database: int, **changed: Any) -> BrokerSettings:
        """Settings of a Slidelane on this database; no limit on what waits."""
        return BrokerSettings(
            redis_url=self.url(database), data=self.folder, max_waiting=10**9, **changed
        )

    def environment(self, database: int, **settings: str) -> dict[str, str]:
        """The same for a process; further settings as `WORKER__COURIER_THREADS="8"`."""
        settings |= {"BROKER__REDIS_URL": self.url(database), "BROKER__DATA": str(self.folder)}
        settings |= {
            "BROKER__MAX_WAITING": str(10**9),
            "WORKER__SLIDES__ROOTS": json.dumps([str(self.folder)]),
        }
        return {PREFIX + name: value for name, value in settings.items()}

    def start(self, name: str, *arguments: str, environment: Mapping[str, str]) -> None:
        """Start `python -m ARGUMENTS`; a setting of somebody's real service does not reach it."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        own |= {CONFIG_VARIABLE: str(self.folder / "config.json"), **environment}
        command = [sys.executable, "-m", *arguments]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=own, stdout=log, stderr=log, start_new_session=True
                )
            )

    def wait_for(self, condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
        """Until it is so, looked at every 5 ms. Raises `TimeoutError` with the last lines of every process."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{what} did not happen within {within_s:g} s\n{self._last_lines()}"
                )
            time.sleep(0.005)

    def _last_lines(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs
        )
