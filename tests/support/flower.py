"""Flower as a real process, and what its pages and its API say."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import requests

from tests.support.paths import ROOT
from tests.support.stack import free_port, wait_for

LOGIN = ("watcher", "pass-of-flower")


class FlowerProcess:
    """`python -m slidelane.flower` on a free port, with these settings and arguments."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "slidelane.flower", f"--port={self.port}", *arguments],
            cwd=ROOT,
            env=env,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        wait_for(lambda: self.status("/static/none") in (403, 404), what="Flower")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End Flower and return its exit status."""
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        return self._process.wait(timeout=60)

    def status(self, path: str, host: str = "", login: tuple[str, str] | None = None) -> int:
        """Return the status of an answer, 0 while nobody listens."""
        try:
            return self.get(path, host, login).status_code
        except requests.ConnectionError:
            return 0

    def get(
        self, path: str, host: str = "", login: tuple[str, str] | None = None
    ) -> requests.Response:
        """Return the answer to GET, for a request that names `host`."""
        headers = {"Host": host} if host else {}
        return requests.get(
            self.url + path, headers=headers, auth=login, timeout=30, allow_redirects=False
        )

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return all tasks by their id, as Flower's API has them."""
        answer = self.get("/api/tasks", login=LOGIN)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def task(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait until the task is in one of the states, and return it."""

        def task_in_state() -> Any:
            task = self.tasks().get(task_id)
            if task and task["state"] in states:
                return task
            return None

        return dict(wait_for(task_in_state, what=f"{task_id} in {states}: {self.tasks()}"))


def with_password(env: dict[str, str]) -> dict[str, str]:
    """Return the settings with a password for Flower."""
    return env | {"FLOWER_BASIC_AUTH": ":".join(LOGIN)}


def stored(folder: Path) -> list[Path]:
    """Return the files in which Flower stored its list."""
    return sorted(folder.glob("tasks.db*"))
