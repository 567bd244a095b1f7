"""An S3-compatible server as a process of its own. Its objects live as long as it does."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.error import URLError

import pytest

from tests.support.stack import free_port, wait_for

BUCKET = "lab"
SECRET = "s3-secret-never-to-be-seen"


class S3Server:
    """`with` starts it, with one bucket. `env` is what its clients must find in their environment."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "slidelane",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdout=quiet, stderr=quiet, start_new_session=True
        )
        wait_for(self._answers, 60, "the S3 server")
        self.make_bucket()
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=60)

    def below(self, prefix: str) -> set[str]:
        """The keys of all objects of the bucket below a prefix, without it."""
        with urllib.request.urlopen(
            f"{self.url}/{BUCKET}?list-type=2&prefix={prefix}/", timeout=30
        ) as answer:
            listed = answer.read().decode()
        return {key.removeprefix(f"{prefix}/") for key in re.findall("<Key>([^<]*)</Key>", listed)}

    def replace(self, key: str, content: bytes) -> None:
        """Put other bytes there, behind everybody's back."""
        self._ask("PUT", f"{BUCKET}/{key}", content)

    def make_bucket(self) -> None:
        """Make it."""
        self._ask("PUT", BUCKET)

    def remove_bucket(self) -> None:
        """Remove it; it must be empty."""
        self._ask("DELETE", BUCKET)

    def _ask(self, method: str, path: str, content: bytes = b"") -> None:
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/{path}", content, method=method), timeout=30
        ):
            pass

    def _answers(self) -> Any:
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                return answer.status == 200
        except (URLError, ConnectionError):
            return False


@contextmanager
def by_environment() -> Iterator[S3Server]:
    """A server that this process finds in its environment, as clients do."""
    with S3Server() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.env.items():
            environment.setenv(name, value)
        yield server
