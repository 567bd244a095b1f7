"""An API behind a real server, and an order that a worker takes through its life."""

from collections.abc import Callable, Iterator

import pytest

from broker.order_store import OrderStore
from broker.settings.config import Config
from services.app import create_app
from tests.support.events import Running, serving
from tests.support.orders import a_request, deliver


@pytest.fixture
def served(config: Config, announced: OrderStore) -> Iterator[Running]:
    """The API without keys."""
    with serving(create_app(config, announced), config) as running:
        yield running


@pytest.fixture
def place(announced: OrderStore) -> Callable[..., str]:
    """Place an order in the store, and return its id."""

    def place(scans: int = 1) -> str:
        return announced.create(a_request(scans), queue="gpu").order_id

    return place


@pytest.fixture
def run_through(announced: OrderStore) -> Callable[[str], None]:
    """Do all the work on an order of one scan."""

    def run_through(order_id: str) -> None:
        deliver(announced, order_id)

    return run_through
