"""A damaged append-only file: the start says so, and the command that cuts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.settings.config import BrokerSettings, ConfigError
from tests.support.orders import a_request
from tests.support.paths import ROOT


def a_data_folder(data: Path) -> list[str]:
    """Return the ids of the orders in a new data folder whose Redis has ended."""
    settings = BrokerSettings(data=data)
    with EmbeddedRedis(settings):
        store = OrderStore.connect(settings)
        return [store.create(a_request(), queue="gpu").order_id for _ in range(10)]


def newest(data: Path) -> Path:
    (path,) = (data / "redis" / "appendonlydir").glob("*.incr.aof")
    return path


def overwrite_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)


def repair(data: Path, *options: str, redis_url: str = "embedded") -> tuple[int, str]:
    """Run the command; return its status and what it writes."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    env |= {"SLIDELANE_BROKER__DATA": str(data), "SLIDELANE_BROKER__REDIS_URL": redis_url}
    done = subprocess.run(
        [sys.executable, "-m", "slidelane.cli", "repair-redis", *options],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def found(data: Path) -> list[str]:
    settings = BrokerSettings(data=data)
    with EmbeddedRedis(settings):
        return [entry.id for entry in OrderStore.connect(settings).find().entries][::-1]


def test_a_damaged_file_is_named_and_cut_where_it_is_sound(tmp_path: Path) -> None:
    """The start names the file and the command; the command asks first, keeps a copy, and what was
    stored before the damage is there again."""
    ids = a_data_folder(tmp_path)
    file = newest(tmp_path)
    overwrite_middle(file)
    damaged = file.read_bytes()
    with pytest.raises(ConfigError) as caught, EmbeddedRedis(BrokerSettings(data=tmp_path)):
        pass
    assert str(file) in str(caught.value)
    assert "slidelane repair-redis" in str(caught.value)
    status, shown = repair(tmp_path)
    assert (status, file.read_bytes()) == (1, damaged)
    assert f"of its {len(damaged)} bytes the first" in shown
    status, shown = repair(tmp_path, "--yes")
    assert status == 0, shown
    (copy,) = (tmp_path / "redis").glob("*.damaged-*")
    assert copy.read_bytes() == damaged
    assert str(copy) in shown
    left = found(tmp_path)
    assert 0 < len(left) < len(ids)
    assert left == ids[: len(left)]


def test_a_file_that_lacks_its_end_needs_no_repair(tmp_path: Path) -> None:
    """As after a power cut: the incomplete command alone is left out."""
    ids = a_data_folder(tmp_path)
    file = newest(tmp_path)
    file.write_bytes(file.read_bytes()[:-7])
    assert found(tmp_path) == ids[:-1]


def test_a_sound_file_is_left_as_it_is(tmp_path: Path) -> None:
    """Whoever repairs to be sure loses nothing; and never while a server writes the file."""
    ids = a_data_folder(tmp_path)
    assert repair(tmp_path, "--yes")[0] == 0
    assert found(tmp_path) == ids
    with EmbeddedRedis(BrokerSettings(data=tmp_path)):
        status, shown = repair(tmp_path, "--yes")
        assert status == 1
        assert "in use by another" in shown
    assert list((tmp_path / "redis").glob("*.damaged-*")) == []


def test_a_redis_of_ones_own_is_not_repaired(tmp_path: Path, redis_url: str) -> None:
    """It has its own tool."""
    status, shown = repair(tmp_path, redis_url=redis_url)
    assert status == 1
    assert "redis-check-aof" in shown
