"""Browsers that talk to an API with keys: over https, and over plain http on its machine."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app

CLERK, READER, CHIEF = "order-key-1", "read-key-2", "admin-key-3"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
KeysFile = Callable[..., None]


def entry(name: str, key: str, **more: object) -> dict[str, object]:
    """A key of the settings."""
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} | more


@pytest.fixture
def keys_path(tmp_path: Path) -> Path:
    """A file with the keys, which a test may write again."""
    path = tmp_path / "keys.json"
    scopes = {CLERK: ["order"], READER: ["read"], CHIEF: ["admin"]}
    names = {CLERK: "clerk", READER: "reader", CHIEF: "chief"}
    path.write_text(json.dumps([entry(names[k], k, scopes=scopes[k]) for k in scopes]))
    return path


@pytest.fixture
def with_keys(config: Config, keys_path: Path) -> Config:
    """The settings with the keys of the file."""
    return load(**config.model_dump() | {"services": {"keys_file": str(keys_path)}})


@pytest.fixture
def browser(with_keys: Config, announced: OrderStore) -> TestClient:
    """A browser that comes by https."""
    app = create_app(with_keys, announced)
    return TestClient(
        app,
        base_url="https://slides.example.org",
        client=("203.0.113.7", 4711),
        headers=SAME_ORIGIN,
    )


@pytest.fixture
def own_browser(with_keys: Config, announced: OrderStore) -> TestClient:
    """A browser on the machine of the API, which comes by plain http."""
    app = create_app(with_keys, announced)
    return TestClient(
        app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 4711), headers=SAME_ORIGIN
    )
