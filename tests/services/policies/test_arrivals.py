"""The API places the orders of slides that a courier found."""

from dataclasses import replace
from typing import Any

import pytest

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.order_store.arrivals import Arrival, Look
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import Config, load
from services.policies.arrivals import ArrivalPlacer
from services.policies.check import faults
from services.requests.placement import Orderable
from tests.services.conftest import CARD

FOLDER = "0123456789abcdef"
ARRIVAL = Arrival(FOLDER, "/slides/in/a b.svs", "a b.svs", "3:7", stain="Ki67", labels={"case": "S1"})  # fmt: skip
LOADER = {"type": "annotation", "url": "https://loader.example.org/submitZipOrder"}
KI67 = {
    "name": "ki67",
    "match": {"stain": "Ki67"},
    "algorithm": "ki67",
    "parameters": {"positive_threshold": 0.3},
    "destination": "loader",
    "priority": "low",
    "labels": {"lab": "x"},
}


def settings(config: Config, *policies: dict[str, Any], **services: Any) -> Config:
    more = {"destinations": {"loader": LOADER}, "policies": policies, **services}
    return load(**config.model_dump() | {"services": more})


def orders(store: OrderStore) -> list[Any]:
    entries = store.find(
        state=None, algorithm=None, created_by=None, labels={}, cursor=None, limit=100
    ).entries
    return list(entries)


def test_an_arrival_becomes_the_order_of_its_policy(config: Config, announced: OrderStore) -> None:
    """With the policy's parameters, destination and labels; the case of the scan goes with it."""
    announced.arrivals.arrive(ARRIVAL)
    placer = ArrivalPlacer(settings(config, KI67), announced)
    assert [placer.step(), placer.step()] == [1, 0]
    (order,) = orders(announced)
    assert order.created_by == "policy:ki67"
    request = order.request
    assert request.algorithm == "ki67"
    assert request.parameters == {"positive_threshold": 0.3}
    assert request.labels == {"case": "S1", "lab": "x", "policy": "ki67"}
    assert request.priority == "low"
    assert request.scans[0].id == "a-b"
    assert request.scans[0].stain == "Ki67"
    assert request.scans[0].source.model_dump() == {"type": "path", "path": "/slides/in/a b.svs"}
    destination = request.resolved_destination
    assert destination.url.get_secret_value() == LOADER["url"]
    assert destination.case_id == "S1"


def test_each_policy_that_fits_orders_once(config: Config, announced: OrderStore) -> None:
    """As each case policy at Techcyte makes its own request; a policy that does not fit makes none."""
    plain = {"algorithm": "ki67"}
    policies = (
        plain | {"name": "one"},
        plain | {"name": "two"},
        plain | {"name": "other", "match": {"stain": "HER2"}},
    )
    announced.arrivals.arrive(ARRIVAL)
    announced.arrivals.arrive(replace(ARRIVAL, relative="b.svs", policy="two"))
    ArrivalPlacer(settings(config, *policies), announced).step()
    assert sorted(order.created_by for order in orders(announced)) == [
        "policy:one", "policy:two",
    ]  # fmt: skip


def test_an_api_that_dies_between_order_and_record_orders_nothing_twice(
    config: Config, announced: OrderStore, redis_url: str
) -> None:
    """The arrival is taken again when its lease is over, and its key finds the order."""
    announced.arrivals.arrive(ARRIVAL)
    placer = ArrivalPlacer(settings(config, KI67), announced)
    (taken,) = announced.arrivals.take()
    placer._place(taken, placer._config.services.policies[0], Orderable.of(announced))
    assert announced.arrivals.take() == []
    RedisClient(RedisUrl.at(redis_url)).records.zadd("sl:arrivals", {taken.id: 1})
    assert placer.step() == 1
    assert len(orders(announced)) == 1
    assert RedisClient(RedisUrl.at(redis_url)).records.zcard("sl:arrivals") == 0


@pytest.mark.parametrize(
    ("parameters", "labels", "code"),
    [
        ({"positive_threshold": 7}, {"case": "S1"}, "parameters_invalid"),
        ({}, {}, "request_invalid"),
    ],
)
def test_a_refused_order_is_remembered_with_its_reason(
    config: Config,
    announced: OrderStore,
    caplog: pytest.LogCaptureFixture,
    parameters: dict[str, Any],
    labels: dict[str, str],
    code: str,
) -> None:
    """A wrong parameter, or a case that the destination needs and nobody says.

    It is told once in the log, without the slide's name, and shown by doctor; never tried again.
    """
    changed = settings(config, KI67 | {"parameters": parameters})
    arrival = replace(ARRIVAL, labels=labels)
    announced.arrivals.note_look(FOLDER, Look("/slides/in", None, 1, 0))
    announced.arrivals.arrive(arrival)
    placer = ArrivalPlacer(changed, announced)
    assert [placer.step(), placer.step()] == [1, 0]
    assert announced.arrivals.arrive(arrival) is False
    assert orders(announced) == []
    (view,) = announced.arrivals.watched()
    assert view.refused["a b.svs"]["code"] == code
    assert caplog.text.count(code) == 1
    assert "a b.svs" not in caplog.text
    assert announced.arrivals.arrive(replace(ARRIVAL, identity="4:8"))
    assert announced.arrivals.watched()[0].refused == {}


def test_a_path_outside_the_roots_is_refused_as_over_http(
    config: Config, announced: OrderStore
) -> None:
    """All checks of an order hold."""
    announced.arrivals.note_look(FOLDER, Look("/elsewhere", None, 1, 0))
    announced.arrivals.arrive(replace(ARRIVAL, path="/elsewhere/a.svs"))
    ArrivalPlacer(settings(config, KI67), announced).step()
    assert announced.arrivals.watched()[0].refused["a b.svs"]["code"] == "path_not_allowed"


def test_a_slide_waits_for_its_algorithm(
    config: Config, store: OrderStore, caplog: pytest.LogCaptureFixture, redis_url: str
) -> None:
    """While no worker has it, the slide waits, which is told once; then it is ordered."""
    store.arrivals.note_look(FOLDER, Look("/slides/in", None, 1, 0))
    store.arrivals.arrive(ARRIVAL)
    placer = ArrivalPlacer(settings(config, KI67), store)
    records = RedisClient(RedisUrl.at(redis_url)).records
    for _ in range(2):
        assert placer.step() == 1
        assert store.arrivals.watched()[0].waiting == {"a b.svs": "algorithms_not_announced"}
        records.zadd("sl:arrivals", {ARRIVAL.id: 1})
    assert caplog.text.count("waits with a slide") == 1
    store.announce([CARD])
    assert placer.step() == 1
    assert len(orders(store)) == 1
    assert store.arrivals.watched()[0].waiting == {}


def test_redis_that_does_not_answer_loses_nothing(config: Config, store: OrderStore) -> None:
    """The step fails as a whole, and the arrival is still there."""
    unreachable = OrderStore.connect(config.broker.model_copy(update={"redis_url": "redis://127.0.0.1:1"}))  # fmt: skip
    with pytest.raises(TemporaryError):
        ArrivalPlacer(settings(config, KI67), unreachable).step()
    store.arrivals.arrive(ARRIVAL)
    assert store.arrivals.take() == [ARRIVAL]


def test_policies_and_templates_are_tried_at_the_start(
    config: Config, announced: OrderStore
) -> None:
    """What no order could be placed by is named with its key: the algorithm, a parameter, a field."""
    techcyte = {"type": "techcyte", "host": "ci.techcyte.com", "jwt_token": "t"}
    tried = settings(
        config,
        KI67,
        KI67 | {"name": "gone", "algorithm": "gone"},
        KI67 | {"name": "wrong", "parameters": {"size": 1}},
        KI67 | {"name": "task", "destination": "techcyte"},
        destinations={"loader": LOADER, "techcyte": techcyte},
        templates={"hot": {"algorithm": "gone"}, "good": {"algorithm": "ki67"}},
    )
    found = dict(faults(tried, Orderable.of(announced)))
    assert sorted(found) == [
        "services.policies[gone]", "services.policies[task]", "services.policies[wrong]",
        "services.templates.hot",
    ]  # fmt: skip
    assert "task_id" in found["services.policies[task]"]
    assert "parameters.size" in found["services.policies[wrong]"]
