"""The API with a stand-in for the viewer, which knows two slides."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.settings.config import BrokerSettings
from tests.support.viewer_stand_in import FACTS, ViewerStandIn

PATH = "/slides/ward-7/a.svs"


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
