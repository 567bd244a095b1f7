"""One running service and its receivers for all journeys, and a slide to order."""

from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

import pytest

from demo.annotation import AnnotationReceiver
from demo.bucket import FileBucket
from demo.slide import make_sample_slide
from demo.techcyte import TechcyteReceiver
from tests.support.gate import Gate
from tests.support.stack import GATED, ROLES, Stack


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "sample.svs"
    make_sample_slide(path, width_px=3072, height_px=2560)
    return path


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("data"), [slide.parent]) as stack:
        stack.wait_ready()
        yield stack


@pytest.fixture
def stack(running: Stack) -> Stack:
    """The service with every process up, whatever the test before did to it."""
    for role, process in running.processes.items():
        if process.poll() is not None:
            running.start(role)
    running.wait_ready()
    return running


@pytest.fixture(scope="module")
def gated(running: Stack) -> Iterator[Stack]:
    """The service with a worker whose ki67 waits at the gate while that is closed.

    It stays so for the rest of a file. It has one thread: tiles come one after another.
    """
    env = running.env
    running.env, running.modules = env | {"SLIDELANE_WORKER__THREADS": "1"}, ROLES | GATED
    running.kill("worker", SIGTERM)
    running.start("worker")
    yield running
    running.env, running.modules = env, ROLES
    running.kill("worker", SIGTERM)
    running.start("worker")


@pytest.fixture
def gate(gated: Stack) -> Iterator[Gate]:
    """The gate of that worker, open before and after."""
    yield gated.gate
    gated.gate.open()


@pytest.fixture
def techcyte() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(any_task=True) as receiver:
        yield receiver


@pytest.fixture
def loader() -> Iterator[AnnotationReceiver]:
    with AnnotationReceiver() as receiver:
        yield receiver


@pytest.fixture
def bucket(slide: Path) -> Iterator[FileBucket]:
    with FileBucket(slide) as server:
        yield server
