"""Who may call `/kue`, at what pace; the page of jobs."""

import hashlib
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, ConfigError, load
from services.app import create_app
from services.kue.page import POLICY
from tests.services.kue.conftest import TYPES, Job, client, sent, settings, shown
from tests.support.orders import taken

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
CHANGES = [
    ("POST", "/kue/job"),
    ("DELETE", "/kue/job/1"),
    ("PUT", "/kue/job/1/state/failed"),
    ("PUT", "/kue/job/1/priority/1"),
    ("GET", "/kue/inactive/1"),
]


def elsewhere(config: Config, store: OrderStore, caller: str, **headers: str) -> TestClient:
    """Return a program with another address, that uses the host's name."""
    return TestClient(
        create_app(config, store),
        base_url="http://slides.example.org:8000",
        client=(caller, 4711),
        headers=headers,
    )


@pytest.mark.parametrize("path", ["/kue/job/1", "/kue/jobs/0..1", "/kue", "/kue/stats", "/kue/x"])
def test_without_types_the_door_is_closed(api: TestClient, path: str) -> None:
    """404 in the words of an address that is not there."""
    nothing = api.get("/nothing").json()
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.json() | {"instance": ""} == nothing | {"instance": ""}
    assert api.post("/kue/job", json={"type": "analysisJob"}).status_code == 404


@pytest.mark.parametrize(
    ("caller", "headers"),
    [
        ("203.0.113.7", {}),
        ("127.0.0.1", {}),
        ("127.0.0.1", {"Host": "127.0.0.1", "X-Forwarded-For": "198.51.100.3"}),
    ],
)
def test_by_itself_the_door_answers_this_machine(
    config: Config, announced: OrderStore, caller: str, headers: dict[str, str]
) -> None:
    """Also where keys let the API leave loopback: no other address, name or proxy."""
    keys = [{"name": "lab", "sha256": hashlib.sha256(b"k").hexdigest()}]
    opened = settings(config)
    services = opened.services.model_dump() | {"keys": keys, "host": "0.0.0.0"}  # noqa: S104 - to test it
    locked = load(**opened.model_dump() | {"services": services})
    door = elsewhere(locked, announced, caller, **headers)
    answer = door.post("/kue/job", json={"type": "analysisJob"})
    assert answer.status_code == 403
    assert "services.kue.networks" in answer.json()["error"]
    assert client(locked, announced).get("/kue/stats").status_code == 200
    assert client(locked, announced).get("/v1/orders").json()["code"] == "key_missing"


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("192.0.2.8", 200),
        ("2001:db8::9", 200),
        ("10.2.0.1", 403),
        ("127.0.0.1", 403),
        ("testclient", 403),
    ],
)
def test_networks_are_answered(
    config: Config, announced: OrderStore, viewer_job: Job, caller: str, status: int
) -> None:
    """By the address that the connection comes from, whatever a header says, without a key."""
    networks = ["10.1.0.0/16", "192.0.2.8", "2001:db8::/32"]
    door = elsewhere(
        settings(config, networks=networks), announced, caller, **{"X-Forwarded-For": "10.1.0.1"}
    )
    answer = door.post("/kue/job", json=viewer_job())
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("has_keys", [False, True])
def test_web_pages_change_nothing(config: Config, announced: OrderStore, has_keys: bool) -> None:
    """A browser would send it for them; also the GET that starts a job, and also with keys."""
    opened = settings(config)
    if has_keys:
        keys = [{"name": "lab", "sha256": hashlib.sha256(b"k").hexdigest()}]
        services = opened.services.model_dump() | {"keys": keys}
        opened = load(**opened.model_dump() | {"services": services})
    door = client(opened, announced)
    for headers in FOREIGN:
        for method, path in CHANGES:
            answer = door.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path, headers)
            assert "browser" in answer.text
        assert door.get("/kue/stats", headers=headers).status_code == 200


def test_a_viewer_that_asks_without_a_pause_is_slowed_down(
    door: TestClient, store: OrderStore, viewer_job: Job
) -> None:
    """Its timer is broken. Other jobs are answered at once, and so is a job that has ended."""
    number = sent(door, viewer_job())
    other = sent(door, viewer_job())
    began = time.monotonic()
    for _ in range(4):
        shown(door, number)
    assert time.monotonic() - began >= 0.9
    (order,) = store.find(labels={"kue": str(other)}).orders
    shown(door, other)
    store.cancel(order.id)
    began = time.monotonic()
    for _ in range(20):
        assert shown(door, other)["state"] == "failed"
    assert time.monotonic() - began < 5


def test_a_held_answer_is_true_when_it_comes(
    door: TestClient, store: OrderStore, viewer_job: Job
) -> None:
    """What is answered is read after the pause."""
    number = sent(door, viewer_job())
    shown(door, number)
    (order,) = store.find(labels={"kue": str(number)}).orders
    taken(store, f"{order.id}.0", "fetch")
    assert shown(door, number)["state"] == "active"


def test_a_viewer_goes_on_asking_while_redis_is_away(config: Config, viewer_job: Job) -> None:
    """503, with a state that is no end: at an answer without one it would give up. A new order is
    refused, and nothing is known of it."""
    away = config.broker.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    door = client(settings(config), OrderStore.connect(away))
    answer = door.get("/kue/job/1")
    assert (answer.status_code, answer.json()["state"]) == (503, "unknown")
    assert "Redis does not answer" in answer.json()["error"]
    assert int(answer.headers["retry-after"]) >= 1
    refused = door.post("/kue/job", json=viewer_job())
    assert (refused.status_code, list(refused.json())) == (503, ["error"])


def test_the_page_shows_jobs(door: TestClient, store: OrderStore, viewer_job: Job) -> None:
    """Plain HTML with a link to each job and order; what clients sent is escaped."""
    evil = "<script>alert(1)</script>"
    sent(door, {"type": evil})
    number = sent(door, viewer_job())
    (order,) = store.find(labels={"kue": str(number)}).orders
    pages = [door.get(f"/kue/{state}") for state in ("failed", "inactive", "active")]
    assert all(page.headers["content-type"] == "text/html; charset=utf-8" for page in pages)
    assert all(page.headers["content-security-policy"] == POLICY for page in pages)
    failed, inactive, active = (page.text for page in pages)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in failed
    assert "<script" not in failed
    assert f'href="/v1/orders/{order.id}"' in inactive
    assert f'href="/kue/job/{number}"' in inactive
    assert "no job is active" in active
    for path in ("/kue", "/kue/"):
        assert door.get(path).text == active
    assert door.get("/kue/anything").status_code == 404
    assert door.head("/kue").status_code == 200


@pytest.mark.parametrize(
    ("kue", "named"),
    [
        ({"types": {"a": {"algorithm": "Ki 67"}}}, "types.a.algorithm"),
        ({"types": {"a": {"algorithm": "ki67", "destination": "absent"}}}, "no destination"),
        ({"types": {"a": {"algorithm": "ki67", "destination": {"type": "x"}}}}, "type must be"),
        ({"types": {"a": {"algorithm": "ki67", "mpp": 0}}}, "mpp"),
        ({"types": {"": {"algorithm": "ki67"}}}, "types"),
        (
            {
                "types": {
                    "a": {
                        "algorithm": "ki67",
                        "destination": {"type": "annotation", "url": "http://10.9.9.9/x"},
                    }
                }
            },
            "services.kue.types.a.destination",
        ),
        ({"networks": ["10.1.0.1/16"]}, "an IP address or a network"),
        ({"networks": ["slides.example.org"]}, "an IP address or a network"),
        ({"events_url": "http://s3cret@redis"}, "redis://"),
        ({"publish": True}, "publish"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(
    config: Config, kue: dict[str, Any], named: str
) -> None:
    """With a message that names the key and holds no secret."""
    with pytest.raises(ConfigError) as caught:
        settings(config, **{"types": TYPES} | kue)
    assert named in str(caught.value)
    assert "s3cret" not in str(caught.value)
