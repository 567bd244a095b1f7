"""`slidelane serve`: Redis, the API, a courier, a worker and Flower on one machine, each started again when it dies."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from broker.config import Config, ConfigError
from broker.embedded import Embedded

_POLL_S = 0.2
_LONGEST_PAUSE_S = 8.0
_HEALTHY_AFTER_S = 30.0
_GRACE_S = 15.0
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """On Linux a child is told to stop when the one who started it is killed; elsewhere it stays until stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _say(text: str) -> None:
    print(f"slidelane: {text}", flush=True)


@dataclass
class Child:
    """One process that is kept running."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    pause_s: float = 0.5
    began: float = field(default_factory=time.monotonic)
    again_at: float = 0.0

    def tend(self) -> None:
        """Start it if it does not run and its pause is over."""
        if self.process and self.process.poll() is None:
            return
        now = time.monotonic()
        if self.process:
            healthy = now - self.began > _HEALTHY_AFTER_S
            self.pause_s = 0.5 if healthy else min(_LONGEST_PAUSE_S, self.pause_s * 2)
            _say(f"{self.name} ended with {self.process.returncode}; it is started again in {self.pause_s:g} s")
            self.process, self.again_at = None, now + self.pause_s
        if now >= self.again_at:
            self.process, self.began = self.start(), time.monotonic()

    def stop(self, signal_number: int) -> None:
        """Send a signal to all of it."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal_number)

    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None


def _python(*arguments: str) -> Callable[[], subprocess.Popen[bytes]]:
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", *arguments], start_new_session=True, preexec_fn=_die_with_parent)  # noqa: PLW1509 - one thread here

    return start


def _flower(port: int) -> list[str]:
    return ["celery", "-A", "broker.queue", "flower", "--address=127.0.0.1", f"--port={port}", "--read_only",
            "--max_tasks=10000", "--purge_offline_workers=60", "--logging=warning"]  # fmt: skip


class Supervisor:
    """Keeps the children running until told to stop; then ends every one of them."""

    def __init__(self, config: Config, flower_port: int) -> None:
        self._stopping = False
        self._embedded = Embedded(config.broker) if config.broker.redis_url == "embedded" else None
        self._children = [
            Child("api", _python("services")),
            Child("courier", _python("worker", "courier")),
            Child("worker", _python("worker", "gpu")),
            Child("flower", _python(*_flower(flower_port))),
        ]

    def run(self) -> None:
        """Block until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            if self._embedded:
                self._embedded.start()
            while not self._stopping:
                self._tend_redis()
                for child in self._children:
                    child.tend()
                time.sleep(_POLL_S)
        finally:
            self._end_all()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _tend_redis(self) -> None:
        if self._embedded and self._embedded.process and self._embedded.process.poll() is not None:
            _say("Redis ended; it is started again")
            try:
                self._embedded.start()
            except ConfigError as error:
                _say(str(error))

    def _end_all(self) -> None:
        _say("stopping")
        for child in self._children:
            child.stop(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline and not all(child.is_gone() for child in self._children):
            time.sleep(_POLL_S)
        for child in self._children:
            child.stop(signal.SIGKILL)
        if self._embedded:
            self._embedded.stop()
        _say("stopped")
