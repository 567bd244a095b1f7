"""The API with a stand-in for the viewer, which knows two slides, and with the real viewer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import BrokerSettings, Config, load
from services.app import create_app
from tests.services.conftest import CARD, LOOPBACK
from tests.support.slides import a_picture, a_slide
from tests.support.viewer import running_viewer
from tests.support.viewer_stand_in import FACTS, ViewerStandIn

PATH = "/slides/ward-7/a.svs"
WIDTH = 300
HEIGHT = 200
TILED = CARD.model_copy(update={"name": "tiled", "tile_px": 64, "mpp": 0.5})
COARSE = TILED.model_copy(update={"name": "coarse", "mpp": 0.125})
WHOLE = CARD.model_copy(update={"name": "whole", "mpp": None})


@pytest.fixture
def api(api: TestClient) -> Iterator[TestClient]:
    """The API as it is served: one event loop for all requests."""
    with api:
        yield api


@pytest.fixture
def keyed(keyed: TestClient) -> Iterator[TestClient]:
    """The API with keys, as it is served."""
    with keyed:
        yield keyed


@pytest.fixture
def viewer(broker_settings: BrokerSettings) -> Iterator[ViewerStandIn]:
    with ViewerStandIn(broker_settings.data) as viewer:
        viewer.slides = {PATH: FACTS, "/slides/notes.svs": None}
        yield viewer


def looked_at(client: TestClient, **source: Any) -> dict[str, Any]:
    """Return the slide of a source that is looked at, by default that below the root."""
    given = source or {"type": "path", "path": PATH}
    answer = client.post("/v1/slides", json={"source": given})
    assert answer.status_code in (201, 202), answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    a_slide(folder / "a.svs", a_picture(WIDTH, HEIGHT))
    a_slide(folder / "no-mpp.svs", a_picture(WIDTH, HEIGHT), mpp=None)
    (folder / "notes.svs").write_text("no slide")
    return folder


@pytest.fixture
def seeing(config: Config, store: OrderStore, folder: Path) -> Iterator[TestClient]:
    """An API whose viewer reads the folder."""
    store.announce([TILED, COARSE, WHOLE])
    broker = config.broker.model_dump()
    settings = load(broker=broker, worker={"slides": {"roots": [str(folder)]}})
    with (
        running_viewer(settings),
        TestClient(
            create_app(settings, store), base_url="http://127.0.0.1:8000", client=LOOPBACK
        ) as client,
    ):
        yield client
