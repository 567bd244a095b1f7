"""A service whose processes are stopped, and slides that keep its worker busy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.slide import make_sample_slide
from tests.support.stack import GATED, ROLES, Stack


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide with more tiles than a test stops at."""
    path = tmp_path_factory.mktemp("slides") / "tiles.svs"
    make_sample_slide(path, width_px=1536, height_px=1280)
    return path


@pytest.fixture
def service(tmp_path: Path, slide: Path) -> Iterator[Stack]:
    """The service with a worker of one thread, whose tiles the gate can stop.

    A scan fails with the first attempt that counts.
    """
    stack = Stack(tmp_path, [slide.parent])
    stack.modules = ROLES | GATED
    stack.env |= {"SLIDELANE_WORKER__THREADS": "1", "SLIDELANE_BROKER__ATTEMPTS": "1"}
    with stack:
        stack.wait_ready()
        yield stack
