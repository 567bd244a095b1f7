"""One fleet for all tests of single faults, and what its orders need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from demo.slide import make_sample_slide
from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import REDIS, Fleet
from tests.support.stack import GATED, ROLES


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small.svs` for orders that only have to arrive.

    `large.svs` for orders that a test holds at the gate: it has several tiles.
    """
    folder = tmp_path_factory.mktemp("slides")
    make_sample_slide(folder / "small.svs", width_px=512, height_px=512)
    make_sample_slide(folder / "large.svs", width_px=768, height_px=512)
    return folder


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, slides: Path) -> Iterator[Fleet]:
    settings = {"SLIDELANE_WORKER__THREADS": "1", "SLIDELANE_WORKER__DELIVER__MAX_RETRY_S": "2"}
    fleet = Fleet(tmp_path_factory.mktemp("data"), [slides], settings)
    fleet.modules = ROLES | GATED
    with fleet:
        yield fleet


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """The fleet with every process up and awake and its gate open.

    Whatever the test before did to it is undone.
    """
    running.gate.open()
    for role in (REDIS, *running.roles):
        running.thaw(role)
    if not running.runs(REDIS):
        running.start(REDIS)
    running.tend()
    running.wait_ready()
    return running


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(any_task=True) as receiver:
        yield receiver


@pytest.fixture
def celery_database(fleet: Fleet) -> Iterator[redis.Redis]:
    """Celery's database."""
    with redis.Redis.from_url((fleet.data / "redis" / "url").read_text()) as client:
        yield client
