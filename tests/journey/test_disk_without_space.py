"""The whole service on a disk that becomes full: what readiness and a refused order say."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest
import requests

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import find_server
from broker.settings.config import BrokerSettings
from demo.stack import ROOT, Stack, free_ports
from tests.support.stack import wait_for

ON_A_SMALL_DISK = 'mount -t tmpfs -o size=24m small "$0" && exec "$@"'
REASON = "No space left on device"


class OnASmallDisk(Stack):
    """`slidelane serve` whose data folder is a disk of 24 MB, in a mount namespace of its own."""

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True)
        self.log = self.data.parent / "serve.log"
        command = ["unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK, str(self.data)]
        command += [sys.executable, "-m", "slidelane", "serve"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    @property
    def filler(self) -> Path:
        """The file that fills the disk, as this process can reach it."""
        assert self._process
        return Path(f"/proc/{self._process.pid}/root{self.data}/filler")

    def fill(self) -> None:
        with self.filler.open("wb", buffering=0) as file:
            for size_bytes in (2**20, 2**12, 1):
                while _writes(file, size_bytes):
                    pass


def _writes(file: Any, size_bytes: int) -> bool:
    try:
        return bool(file.write(bytes(size_bytes)) == size_bytes)
    except OSError:
        return False


def _skip_unless_mountable(folder: Path) -> None:
    """Skip the test without the right to mount a small disk in a namespace of its own."""
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "small", str(folder)]
    if (
        not shutil.which("unshare")
        or subprocess.run(trial, capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount")


@pytest.fixture
def small(tmp_path: Path, slide: Path) -> Iterator[OnASmallDisk]:
    _skip_unless_mountable(tmp_path)
    with OnASmallDisk(tmp_path / "data", (slide.parent,)) as stack:
        stack.wait_ready()
        yield stack


def test_another_redis_on_a_full_disk_is_told_by_its_own_words(tmp_path: Path) -> None:
    """One that syncs its file each second lives on, and refuses every write."""
    _skip_unless_mountable(tmp_path)
    (port,) = free_ports(1)
    command = ["unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK.replace("24m", "200k")]
    command += [str(tmp_path), str(find_server()), "--port", str(port), "--dir", str(tmp_path)]
    command += ["--appendonly", "yes", "--save", "", "--bind", "127.0.0.1"]
    url = f"redis://127.0.0.1:{port}/0"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            store = OrderStore.connect(BrokerSettings(redis_url=url, data=tmp_path / "data"))
            wait_for(lambda: "Redis does not answer" not in _fault(store.ping), what="Redis")
            names = count()
            wait_for(
                lambda: REASON in _fault(partial(store.present, f"{next(names)}" * 2000, ["gpu"])),
                what="the full disk",
            )
            assert _fault(partial(store.present, "w", [])) == (
                f"Redis cannot write to its disk: {REASON}"
            )
        finally:
            server.kill()


def _fault(call: Callable[[], None]) -> str:
    try:
        call()
    except TemporaryError as error:
        return error.detail
    return ""


def ready(stack: Stack) -> requests.Response:
    return requests.get(f"{stack.url}/readyz", timeout=30)


def place(stack: Stack, slide: Path) -> requests.Response:
    scan = {"id": "1", "source": {"type": "path", "path": str(slide)}}
    order = {"algorithm": "grid", "scans": [scan]}
    return requests.post(f"{stack.url}/v1/orders", json=order, timeout=60)


@pytest.mark.timeout(300)
def test_a_full_disk_is_said_in_one_line(small: OnASmallDisk, slide: Path) -> None:
    """`/readyz` and the refusal of an order name it, and the folder; with room again the service is
    ready by itself."""
    assert place(small, slide).status_code == 202
    small.fill()
    wait_for(lambda: REASON in ready(small).text, what="the reason")
    told = ready(small)
    assert told.status_code == 503
    assert f"{REASON}: {small.data}" in told.json()["detail"]

    problem = place(small, slide)
    assert problem.status_code == 503
    assert f"{REASON}: {small.data}" in problem.json()["detail"]
    assert "\n" not in problem.json()["detail"]
    os.truncate(small.filler, 0)
    wait_for(lambda: ready(small).status_code == 200, within_s=120, what="room again")
    assert place(small, slide).status_code == 202
