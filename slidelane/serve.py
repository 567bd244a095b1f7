"""`slidelane serve`: Redis, the API, a courier, a worker and Flower on one machine, each started again when it dies."""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.settings.config import Config, ConfigError
from slidelane.ports import FLOWER_HOST, check_ports
from slidelane.process import signal_group, start_module

_POLL_S = 0.2
_LONGEST_PAUSE_S = 8.0
_HEALTHY_AFTER_S = 10.0
_HAND_BACK_S = 5.0
_REDIS_PAUSE_S = 1.0


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
        status, now = self._reap(), time.monotonic()
        if status is not None:
            healthy = now - self.began > _HEALTHY_AFTER_S
            self.pause_s = 0.5 if healthy else min(_LONGEST_PAUSE_S, self.pause_s * 2)
            _say(f"{self.name} ended with {status}; it is started again in {self.pause_s:g} s")
            self.again_at = now + self.pause_s
        if self.process is None and now >= self.again_at:
            self._start()

    def stop(self) -> None:
        """Tell it to end; what it has started is its own to end."""
        if self.process:
            self.process.terminate()

    def kill(self) -> None:
        """End it and all that it has started."""
        if self.process:
            signal_group(self.process.pid, signal.SIGKILL)

    def is_gone(self) -> bool:
        """Whether it has ended."""
        self._reap()
        return self.process is None

    def _start(self) -> None:
        self.began = time.monotonic()
        try:
            self.process = self.start()
        except OSError as error:  # no memory, no process left: that passes
            _say(f"{self.name} cannot be started: {error.strerror}")
            self.again_at = self.began + _LONGEST_PAUSE_S

    def _reap(self) -> int | None:
        """Its exit status, told once."""
        if self.process is None or self.process.poll() is None:
            return None
        status = self.process.returncode
        signal_group(
            self.process.pid, signal.SIGTERM
        )  # an orphan would hold the device against its successor
        self.process = None
        return status


def _flower(port: int) -> list[str]:
    return ["slidelane.flower", f"--address={FLOWER_HOST}", f"--port={port}"]


def _started(redis: EmbeddedRedis) -> str:
    """Its URL. Raises `ConfigError`."""
    try:
        return redis.start()
    except OSError as error:
        raise ConfigError(f"broker.data cannot be used: {error}") from None


class Supervisor:
    """Keeps the children running until told to stop; then ends every one of them."""

    def __init__(self, config: Config, flower_port: int) -> None:
        self._config, self._flower_port = config, flower_port
        self._stopping, self._redis_url = False, ""
        self._redis = (
            EmbeddedRedis(config.broker) if config.broker.redis_url == "embedded" else None
        )
        self._children = [
            Child("api", partial(start_module, "services")),
            Child("courier", partial(start_module, "worker", "courier")),
            Child("worker", partial(start_module, "worker", "gpu")),
            Child("flower", partial(start_module, *_flower(flower_port))),
        ]

    def run(self) -> None:
        """Block until SIGINT, SIGTERM or SIGHUP. Raises `ConfigError` when it cannot start."""
        check_ports(self._config, self._flower_port)
        open_storage(self._config.broker)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            if self._redis:
                self._redis_url = _started(self._redis)
            OrderStore.connect(
                self._config.broker
            )  # settings that no child could work with end it here
            self._introduce()
            while not self._stopping:
                self._tend()
            _say("stopping")
        finally:
            self._end_all()
        _say("stopped")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _introduce(self) -> None:
        api = self._config.services
        _say(f"API    http://{api.host}:{api.port}")
        _say(f"Flower http://{FLOWER_HOST}:{self._flower_port}")
        _say(f"data   {self._config.broker.data.resolve()}")

    def _tend(self) -> None:
        self._tend_redis()
        for child in self._children:
            child.tend()
        time.sleep(_POLL_S)

    def _tend_redis(self) -> None:
        if self._redis is None or self._redis.process is None or self._redis.process.poll() is None:
            return
        _say("Redis ended; it is started again")
        try:
            url = _started(self._redis)
        except ConfigError as error:
            _say(str(error))
            time.sleep(_REDIS_PAUSE_S)
            return
        if (
            url != self._redis_url
        ):  # its port was taken meanwhile, and the children know only the old address
            self._redis_url = url
            for child in self._children:
                child.kill()

    def _end_all(self) -> None:
        for child in self._children:
            child.stop()
        deadline = time.monotonic() + self._config.worker.grace_s + _HAND_BACK_S
        while time.monotonic() < deadline and not all(child.is_gone() for child in self._children):
            time.sleep(_POLL_S)
        for child in self._children:
            child.kill()
        if self._redis:
            self._redis.stop()
