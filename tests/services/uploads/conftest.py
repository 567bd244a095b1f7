"""A caller that speaks tus with the API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from broker.settings.config import Config
from broker.uploads import Uploads
from tests.support.tus import TusCaller


@pytest.fixture
def uploads(config: Config) -> Uploads:
    return Uploads(config.broker.uploads_folder)


@pytest.fixture
def folder(config: Config) -> Path:
    return config.broker.uploads_folder


@pytest.fixture
def tus(api: TestClient) -> Iterator[TusCaller]:
    with api:
        yield TusCaller(api)
