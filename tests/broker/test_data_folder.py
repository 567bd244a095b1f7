"""The data folder: private where we make it, said to be open where it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.data_folder import make_private, openness, restrict_new_files
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.order_store.encryption import KEY_FILE
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import BrokerSettings
from tests.support.orders import TECHCYTE, a_request
from tests.support.paths import ROOT


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_that_we_make_is_private(tmp_path: Path) -> None:
    """Whatever the umask; the folders above it are none of ours."""
    old = os.umask(0)
    try:
        make_private(tmp_path / "above" / "data")
    finally:
        os.umask(old)
    assert mode_of(tmp_path / "above" / "data") == 0o700
    assert openness(tmp_path / "above" / "data") == ""


def test_a_folder_that_is_there_keeps_its_mode_and_is_said_to_be_open(tmp_path: Path) -> None:
    """A volume that containers share may have to be open to a group."""
    for mode in (0o755, 0o2770, 0o711):
        tmp_path.chmod(mode)
        make_private(tmp_path)
        assert tmp_path.stat().st_mode & 0o7777 == mode
        assert f"mode {mode:04o}" in openness(tmp_path)
        assert f"chmod 700 {tmp_path}" in openness(tmp_path)
    assert openness(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("modes", "mask_before", "mode"),
    [
        ((0o700,), 0o022, 0o600),
        ((0o755,), 0o022, 0o644),
        ((0o755,), 0o027, 0o640),
        ((0o700, 0o2770), 0o002, 0o660),
        ((0o711,), 0o022, 0o600),
    ],
)
def test_files_are_no_more_open_than_the_folders_that_hold_them(
    tmp_path: Path, modes: tuple[int, ...], mask_before: int, mode: int
) -> None:
    """A second folder is a storage that is shared with a group; a stricter umask stays."""
    folders = [tmp_path / str(number) for number in range(len(modes))]
    for folder, its_mode in zip(folders, modes, strict=True):
        folder.mkdir()
        folder.chmod(its_mode)
    old_mask = os.umask(mask_before)
    try:
        restrict_new_files(folders)
        file = folders[-1] / "file"
        file.touch()
    finally:
        os.umask(old_mask)
    assert mode_of(file) == mode


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_the_doctor_says_who_may_enter(tmp_path: Path, mode: int) -> None:
    """An open folder is no failure: nothing stops working."""
    tmp_path.chmod(mode)
    code = (
        "import sys; from pathlib import Path; from slidelane.doctor import _disk\n"
        "row = _disk(Path(sys.argv[1])); print(row.state, row.message)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith("ok ")
    assert ("chmod 700" in shown) == (mode != 0o700)


@pytest.mark.parametrize("module", [["services"], ["worker", "courier"]], ids=["api", "courier"])
@pytest.mark.parametrize("mode", [0o700, 0o750])
def test_every_process_says_so_when_it_starts(
    tmp_path: Path, redis_url: str, module: list[str], mode: int
) -> None:
    """Once, before it serves; and nothing where only the owner may enter."""
    tmp_path.chmod(mode)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    env |= {
        "SLIDELANE_BROKER__REDIS_URL": redis_url,
        "SLIDELANE_BROKER__DATA": str(tmp_path),
        "SLIDELANE_SERVICES__PORT": "0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout
        shown = ""
        for line in process.stdout:
            shown += line
            if "listens on" in line or " consumes " in line:
                process.terminate()
    assert shown.count("may enter the data folder") == (mode != 0o700), shown


def test_the_embedded_redis_makes_a_key_for_itself(tmp_path: Path) -> None:
    """Readable by its owner, the same from start to start; no token is in Redis or its file."""
    settings = BrokerSettings(data=tmp_path / "data")
    with EmbeddedRedis(settings):
        key = (settings.data / KEY_FILE).read_text()
        assert mode_of(settings.data) == 0o700
        assert mode_of(settings.data / KEY_FILE) == 0o600
        store = OrderStore.connect(settings)
        order_id = store.create(a_request(destination=TECHCYTE), queue="gpu").order_id
        stored = RedisClient(RedisUrl.of(settings)).records.hgetall(f"sl:order:{order_id}")
        assert "top-secret-token" not in str(stored)
    for path in (settings.data / "redis").rglob("*"):
        assert path.is_dir() or b"top-secret-token" not in path.read_bytes()
    with EmbeddedRedis(settings):
        assert (settings.data / KEY_FILE).read_text() == key
        assert OrderStore.connect(settings).get(order_id).shown_destination["task_id"]
