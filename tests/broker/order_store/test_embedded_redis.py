"""Our own Redis: real, durable, private, one to a folder."""

import os
import signal
from pathlib import Path

import pytest

from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.order_store.redis_url import embedded_url
from broker.settings.config import BrokerSettings, ConfigError


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL, start again: the same address, the same data."""
    settings = BrokerSettings(data=tmp_path)
    with EmbeddedRedis(settings) as redis:
        store = OrderStore.connect(settings)
        store.present("w", ["gpu"])
        url = embedded_url(tmp_path)
        assert redis.process
        os.kill(redis.process.pid, signal.SIGKILL)
        redis.process.wait()
        redis.start()
        assert embedded_url(tmp_path) == url
        assert [worker.name for worker in store.workers()] == ["w"]


def test_a_second_start_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two servers never write one append-only file."""
    settings = BrokerSettings(data=tmp_path)
    with EmbeddedRedis(settings), pytest.raises(ConfigError, match="in use by another"):
        EmbeddedRedis(settings).start()


def test_a_server_left_behind_is_ended_before_a_new_one_starts(tmp_path: Path) -> None:
    """Whoever started it was killed; its data goes on."""
    settings = BrokerSettings(data=tmp_path)
    left = EmbeddedRedis(settings)
    left.start()
    OrderStore.connect(settings).present("w", [])
    assert left._lock
    left._lock.close()
    with EmbeddedRedis(settings):
        assert left.process
        assert left.process.wait(timeout=10) is not None
        assert len(OrderStore.connect(settings).workers()) == 1


def test_the_password_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """Neither in a world-readable file nor on a command line."""
    settings = BrokerSettings(data=tmp_path)
    with EmbeddedRedis(settings) as redis:
        for name in ("url", "redis.conf"):
            assert (tmp_path / "redis" / name).stat().st_mode & 0o077 == 0
        password = embedded_url(tmp_path).split(":")[2].split("@")[0]
        assert redis.process
        assert password not in str(redis.process.args)


def test_no_redis_is_said_in_one_sentence(tmp_path: Path) -> None:
    """A worker started before `make serve` says what to do."""
    with pytest.raises(ConfigError, match="make serve"):
        OrderStore.connect(BrokerSettings(data=tmp_path))


def test_a_data_folder_may_have_a_space_in_its_name(tmp_path: Path) -> None:
    """As home folders do."""
    settings = BrokerSettings(data=tmp_path / "my slides")
    with EmbeddedRedis(settings):
        OrderStore.connect(settings).ping()
