"""`slidelane serve`: Redis, the API, a courier, a worker, the viewer and Flower on one machine.

Each of them is started again when it ends.
"""

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from broker.data_folder import make_private, restrict_new_files
from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.settings.config import LOOPBACK, PREFIX, Config, ConfigError, load
from slidelane.http_probe import base_url
from slidelane.ports import FLOWER_HOST, check_ports, flower_port
from slidelane.process import handle_stop_signals, signal_group, start_module
from slidelane.readiness import Readiness

SAMPLE = Path("sample", "sample.svs")
"""Where the sample slide is in the data folder, if there is one."""
_ROOTS_VARIABLE = f"{PREFIX}WORKER__SLIDES__ROOTS"
_FLOWER_VARIABLE = f"{PREFIX}SERVICES__PAGE__FLOWER"
_POLL_S = 0.2
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 8.0
_HEALTHY_AFTER_S = 10.0
_END_S = 10.0
"""How long the processes may take to end, after the workers' grace, before they are killed."""
_STDOUT = 1
_SECRETS = (
    f"{PREFIX}BROKER__REDIS_URL",
    f"{PREFIX}BROKER__SECRET_KEY",
    f"{PREFIX}BROKER__OLD_SECRET_KEYS",
    "AWS_",
    "FLOWER_",
)
"""How the names of variables begin that the viewer is not given."""
_REDIS_PAUSE_S = 1.0


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("serve", help="the whole service on this machine, until Ctrl-C")
    parser.set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> int:
    Supervisor(load(), flower_port()).run()
    return 0


def _print(text: str) -> None:
    """Write a line to stdout, unless its disk is full or its terminal or reader is gone.

    It is not buffered: what could not be written must not fail again at the end of the process.
    """
    with suppress(OSError):
        os.write(_STDOUT, f"slidelane: {text}\n".encode())


class RestartedProcess:
    """A process that is started again whenever it ends, after a pause that grows."""

    def __init__(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        self._name = name
        self._arguments = arguments
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._started_at = 0.0
        self._start_at = 0.0

    def restart_if_ended(self) -> None:
        """Start the process if it does not run and its pause is over."""
        status = self._reap()
        now = time.monotonic()
        if status is not None:
            self._pause(now)
            _print(f"{self._name} ended with {status}; it is started again in {self._pause_s:g} s")
        if self._process is None and now >= self._start_at:
            self._start()

    def terminate(self) -> None:
        """Send SIGTERM to the process, which then ends what it has started itself."""
        if self._process:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process and everything that it has started."""
        if self._process:
            signal_group(self._process.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        """Return whether the process does not run."""
        self._reap()
        return self._process is None

    def _pause(self, now: float) -> None:
        """Double the pause, or begin anew after a process that ran well."""
        if now - self._started_at > _HEALTHY_AFTER_S:
            self._pause_s = _FIRST_PAUSE_S
        else:
            self._pause_s = min(_MAX_PAUSE_S, self._pause_s * 2)
        self._start_at = now + self._pause_s

    def _start(self) -> None:
        self._started_at = time.monotonic()
        try:
            # What it has to say is in its log, on stderr; stdout is for whoever starts it alone.
            self._process = start_module(*self._arguments, env=self._env, stdout=subprocess.DEVNULL)
        except OSError as error:
            # There is no memory or no free process id, which may pass.
            _print(f"{self._name} cannot be started: {error.strerror}")
            self._start_at = self._started_at + _MAX_PAUSE_S

    def _reap(self) -> int | None:
        """Return the exit status if the process has ended since the last call."""
        if self._process is None or self._process.poll() is None:
            return None
        status = self._process.returncode
        # An orphaned child could keep the GPU from the next process.
        signal_group(self._process.pid, signal.SIGKILL)
        self._process = None
        return status


class Supervisor:
    """Keeps the processes running until SIGINT, SIGTERM or SIGHUP; then ends every one of them."""

    def __init__(self, config: Config, flower_port: int) -> None:
        self._config = config
        self._flower_port = flower_port
        self._is_stopping = False
        self._redis_url = ""
        self._redis: EmbeddedRedis | None = None
        if config.broker.redis_url == "embedded":
            self._redis = EmbeddedRedis(config.broker)
        self._sample = config.broker.data.resolve() / SAMPLE
        env = self.environment()
        api_env = env | self._flower_link()
        flower = ["slidelane.flower", f"--address={FLOWER_HOST}", f"--port={flower_port}"]
        self._processes = [
            RestartedProcess("api", ["services"], api_env),
            RestartedProcess("courier", ["worker", "courier"], env),
            RestartedProcess("worker", ["worker", "gpu"], env),
            RestartedProcess("flower", flower, env),
        ]
        if self._has_viewer:
            viewer = RestartedProcess("viewer", ["worker", "viewer"], _without_secrets(env))
            self._processes.append(viewer)

    def run(self) -> None:
        """Block until a signal. Raise `ConfigError` where the service cannot start."""
        check_ports(self._config, self._flower_port)
        try:
            make_private(self._config.broker.data)
        except OSError as error:
            raise ConfigError(f"broker.data cannot be used: {error}") from None
        restrict_new_files(self._config.broker.folders)
        open_storage(self._config.broker)
        handle_stop_signals(self._on_signal)
        try:
            if self._redis:
                self._redis_url = _start_redis(self._redis)
            # Settings that no process could work with raise here.
            OrderStore.connect(self._config.broker)
            self._print_start()
            readiness = Readiness(
                self._config,
                base_url(self._config.services.host, self._config.services.port),
                base_url(FLOWER_HOST, self._flower_port),
            )
            while not self._is_stopping:
                self._restart_redis_if_ended()
                for process in self._processes:
                    process.restart_if_ended()
                for line in readiness.news():
                    _print(line)
                time.sleep(_POLL_S)
            _print("stopping")
        finally:
            self._end_all()
        _print("stopped")

    def environment(self) -> dict[str, str]:
        """Return the environment of the processes: ours, with the sample slide's folder allowed."""
        if not self._sample.is_file():
            return dict(os.environ)
        # The value of a variable that ends in _FILE would replace the one that is set here.
        replaced = (_ROOTS_VARIABLE, f"{_ROOTS_VARIABLE}_FILE")
        env = {name: value for name, value in os.environ.items() if name.upper() not in replaced}
        roots = [*self._config.worker.slides.roots, self._sample.parent]
        env[_ROOTS_VARIABLE] = json.dumps([str(root) for root in roots])
        return env

    @property
    def _has_viewer(self) -> bool:
        """Return whether the viewer runs here; one at a URL of another machine does not."""
        return bool(self._config.worker.viewer.bind) or not self._config.broker.viewer.url

    def _flower_link(self) -> dict[str, str]:
        """Return the variable that tells the page where Flower is, unless the settings do.

        Only browsers on this machine reach it.
        """
        services = self._config.services
        if services.page.flower is not None or services.host not in LOOPBACK:
            return {}
        return {_FLOWER_VARIABLE: base_url(FLOWER_HOST, self._flower_port)}

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True

    def _print_start(self) -> None:
        _print("starting; Ctrl-C or SIGTERM stops it")
        _print(f"data   {self._config.broker.data.resolve()}")
        if self._sample.is_file():
            _print(f"sample {self._sample}")

    def _restart_redis_if_ended(self) -> None:
        if self._redis is None or self._redis.process is None or self._redis.process.poll() is None:
            return
        _print("Redis ended; it is started again")
        try:
            url = _start_redis(self._redis)
        except ConfigError as error:
            _print(str(error))
            time.sleep(_REDIS_PAUSE_S)
            return
        if url == self._redis_url:
            return
        # Another program took its port meanwhile. The processes know the old address only.
        self._redis_url = url
        for process in self._processes:
            process.kill()

    def _end_all(self) -> None:
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + self._config.worker.grace_s + _END_S
        while time.monotonic() < deadline and not self._have_all_ended():
            # A stop that reaches every process ends Redis, too, and work is still to be given back.
            self._restart_redis_if_ended()
            time.sleep(_POLL_S)
        for process in self._processes:
            process.kill()
        if self._redis:
            self._redis.stop()

    def _have_all_ended(self) -> bool:
        return all(process.has_ended() for process in self._processes)


def _without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that needs neither Redis nor the storage."""
    return {name: value for name, value in env.items() if not name.upper().startswith(_SECRETS)}


def _start_redis(redis: EmbeddedRedis) -> str:
    """Return the URL of Redis. Raise `ConfigError`."""
    try:
        return redis.start()
    except OSError as error:
        raise ConfigError(f"broker.data cannot be used: {error}") from None
