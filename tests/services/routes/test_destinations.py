"""The named destinations are listed without anything that an order must not know."""

from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from tests.services.conftest import LOOPBACK

DESTINATIONS = {
    "loader": {"type": "annotation", "url": "https://loader.example/api?key=canary"},
    "lab": {"type": "techcyte", "host": "ci.techcyte.com"},
    "lab-with-key": {
        "type": "techcyte",
        "host": "ci.techcyte.com",
        "api_key_id": "canary-id",
        "api_key_secret": "canary-secret",
    },
    "viewer": {"type": "camicroscope", "url": "https://slides.example"},
}


def test_destinations_are_listed_with_what_orders_add(
    config: Config, announced: OrderStore
) -> None:
    """By name, with the fields that an order must give; neither address nor credential is told."""
    settings = load(**config.model_dump() | {"services": {"destinations": DESTINATIONS}})
    api = TestClient(
        create_app(settings, announced), base_url="http://127.0.0.1:8000", client=LOOPBACK
    )
    answer = api.get("/v1/destinations")
    assert answer.json() == {
        "destinations": [
            {"name": "lab", "type": "techcyte", "needs": ["task_id", "jwt_token"]},
            {"name": "lab-with-key", "type": "techcyte", "needs": ["task_id"]},
            {"name": "loader", "type": "annotation", "needs": ["case_id"]},
            {"name": "viewer", "type": "camicroscope", "needs": ["slide"]},
        ]
    }
    assert "canary" not in answer.text


def test_without_destinations_the_list_is_empty(api: TestClient, keyed: TestClient) -> None:
    """A key is needed where keys are configured."""
    assert api.get("/v1/destinations").json() == {"destinations": []}
    assert keyed.get("/v1/destinations").status_code == 401
