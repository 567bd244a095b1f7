"""A Redis and processes for one benchmark, which all end with the context."""

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


class Environment:
    """A Redis as `make serve` runs it, and the processes that use it.

    What a process prints goes to `<folder>/NAME.log`.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="slidelane-bench-")
        self.folder = Path(self._temporary.name).resolve()
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
        self._temporary.cleanup()

    def url(self, database: int) -> str:
        """Return the server's URL with this database. Slidelane uses the next database too."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def client(self, database: int) -> Any:
        """Return a plain Redis client."""
        return redis.Redis.from_url(self.url(database), decode_responses=True)

    def settings(self, database: int, **changed: Any) -> BrokerSettings:
        """Return settings for this database, without a limit on the orders that wait."""
        return BrokerSettings(
            redis_url=self.url(database), data=self.folder, max_waiting=10**9, **changed
        )

    def variables(self, database: int, **settings: str) -> dict[str, str]:
        """Return these settings as variables; add others as `WORKER__COURIER_THREADS="8"`."""
        settings |= {"BROKER__REDIS_URL": self.url(database), "BROKER__DATA": str(self.folder)}
        settings |= {
            "BROKER__MAX_WAITING": str(10**9),
            "WORKER__SLIDES__ROOTS": json.dumps([str(self.folder)]),
        }
        return {PREFIX + name: value for name, value in settings.items()}

    def start(self, name: str, *arguments: str, variables: Mapping[str, str]) -> None:
        """Start `python -m ARGUMENTS` without the settings of a real service on this machine."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        own |= {CONFIG_VARIABLE: str(self.folder / "config.json"), **variables}
        command = [sys.executable, "-m", *arguments]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=own, stdout=log, stderr=log, start_new_session=True
                )
            )

    def wait_for(self, condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
        """Block until the condition is true, and check it every 20 ms.

        Raise `TimeoutError` with the last lines of every process.
        """
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{what} did not happen within {within_s:g} s\n{self._last_lines()}"
                )
            time.sleep(0.02)

    def _last_lines(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs
        )
