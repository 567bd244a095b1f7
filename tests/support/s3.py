"""An S3-compatible server in a process of its own, which loses its objects when it ends."""

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
    """A server that runs, with one bucket, while its context lasts.

    `env`: the environment variables that its clients need.
    """

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
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._is_ready, 60, "the S3 server")
        self.make_bucket()
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=60)

    def below(self, prefix: str) -> set[str]:
        """Return the keys of all objects below `prefix/`, without this prefix."""
        with urllib.request.urlopen(
            f"{self.url}/{BUCKET}?list-type=2&prefix={prefix}/", timeout=30
        ) as response:
            listed = response.read().decode()
        return {key.removeprefix(f"{prefix}/") for key in re.findall("<Key>([^<]*)</Key>", listed)}

    def replace(self, key: str, content: bytes) -> None:
        """Replace the object at `key` without the knowledge of the program under test."""
        self._request("PUT", f"{BUCKET}/{key}", content)

    def make_bucket(self) -> None:
        """Create the bucket."""
        self._request("PUT", BUCKET)

    def remove_bucket(self) -> None:
        """Remove the bucket, which must be empty."""
        self._request("DELETE", BUCKET)

    def _request(self, method: str, path: str, content: bytes = b"") -> None:
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/{path}", content, method=method), timeout=30
        ):
            pass

    def _is_ready(self) -> Any:
        try:
            with urllib.request.urlopen(self.url, timeout=5) as response:
                return response.status == 200
        except (URLError, ConnectionError):
            return False


@contextmanager
def by_environment() -> Iterator[S3Server]:
    """Start a server and set its variables in the environment of this process."""
    with S3Server() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.env.items():
            environment.setenv(name, value)
        yield server
