"""What each API key may do: its share, its highest priority, its own orders, and who did what."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import Config, ConfigError, load
from services import api_keys
from services.app import create_app
from tests.support.orders import classify, deliver, taken
from tests.support.redis_servers import wait_for

OrderBody = Callable[..., dict[str, Any]]
TECHCYTE = {
    "type": "techcyte",
    "host": "ci.techcyte.com",
    "task_id": "dGFzaw==",
    "jwt_token": "eyJ.s3cret.tok",
}


def entry(name: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a key whose text is `NAME-key`."""
    digest = hashlib.sha256(f"{name}-key".encode()).hexdigest()
    return {"name": name, "sha256": digest, "scopes": ["order", "read"], **more}


def as_caller(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-key"}


@pytest.fixture
def serve(config: Config, announced: OrderStore) -> Callable[..., TestClient]:
    """Serve with these keys."""

    def serve(*keys: dict[str, Any], **services: Any) -> TestClient:
        given = {"keys": list(keys), "host": "0.0.0.0", **services}  # noqa: S104 - to test it
        settings = load(**config.model_dump() | {"services": given})
        return TestClient(create_app(settings, announced), base_url="https://slides.example.org")

    return serve


Serve = Callable[..., TestClient]


def placed(api: TestClient, body: dict[str, Any], name: str) -> str:
    answer = api.post("/v1/orders", json=body, headers=as_caller(name))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_an_order_names_who_placed_it_and_who_acted_on_it(
    serve: Serve, order_body: OrderBody
) -> None:
    """In the order and in its log, each act once."""
    api = serve(entry("lab"), entry("night"))
    order_id = placed(api, order_body(), "lab")
    path = f"/v1/orders/{order_id}"
    for _ in range(2):
        api.post(f"{path}/cancel", headers=as_caller("night"))
    api.post(f"{path}/retry", headers=as_caller("lab"))
    order = api.get(path, headers=as_caller("lab")).json()
    assert order["created_by"] == "lab"
    assert [(act["act"], act["by"]) for act in order["acts"]] == [
        ("cancel", "night"),
        ("retry", "lab"),
    ]
    log = api.get(f"{path}/log", headers=as_caller("lab")).text
    assert log.count("cancel asked for by night") == 1
    assert "retry asked for by lab" in log


def test_acts_are_bounded(serve: Serve, order_body: OrderBody) -> None:
    """A caller who repeats itself does not fill Redis."""
    api = serve(entry("lab"))
    path = f"/v1/orders/{placed(api, order_body(), 'lab')}"
    for _ in range(12):
        api.post(f"{path}/cancel", headers=as_caller("lab"))
        api.post(f"{path}/retry", headers=as_caller("lab"))
    assert len(api.get(path, headers=as_caller("lab")).json()["acts"]) == 20


def test_a_key_has_a_share_of_what_waits(
    serve: Serve, order_body: OrderBody, announced: OrderStore
) -> None:
    """One more is 429; others are not affected, and there is room again once one of them runs."""
    api = serve(entry("research", max_waiting=2), entry("lab"))
    first, _ = (placed(api, order_body(), "research") for _ in range(2))
    full = api.post("/v1/orders", json=order_body(), headers=as_caller("research"))
    assert (full.status_code, full.json()["code"]) == (429, "too_many_waiting")
    assert "2 orders of the key 'research'" in full.json()["detail"]
    assert int(full.headers["retry-after"]) > 0
    placed(api, order_body(), "lab")
    taken(announced, f"{first}.0", "fetch")
    placed(api, order_body(), "research")


def test_a_key_has_a_highest_priority(serve: Serve, order_body: OrderBody) -> None:
    """403 that names the key, the limit and the field; up to it all is taken."""
    api = serve(entry("research", max_priority="normal"))
    for priority in ("low", "normal"):
        placed(api, order_body(priority=priority), "research")
    for priority in ("high", "urgent"):
        body = order_body(priority=priority)
        refused = api.post("/v1/orders", json=body, headers=as_caller("research"))
        assert (refused.status_code, refused.json()["code"]) == (403, "key_refused")
        assert refused.json()["field"] == "priority"
        assert "'normal' at most" in refused.json()["detail"]


def test_a_key_may_see_its_own_orders_only(serve: Serve, order_body: OrderBody) -> None:
    """Others are not there: not to read, not in any part, not to act on, not in lists."""
    api = serve(entry("guest", own_orders_only=True), entry("lab"))
    theirs = placed(api, order_body(), "lab")
    mine = placed(api, order_body(), "guest")
    guest = as_caller("guest")
    for part in ("", "/log", "/payload", "/scans/a/results.json"):
        answer = api.get(f"/v1/orders/{theirs}{part}", headers=guest)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), part
    for act in ("cancel", "retry", "deliver"):
        answer = api.post(f"/v1/orders/{theirs}/{act}", headers=guest)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), act
    assert api.get(f"/v1/orders/{theirs}", headers=as_caller("lab")).json()["state"] == "queued"
    assert api.get(f"/v1/orders/{mine}", headers=guest).status_code == 200
    assert api.post(f"/v1/orders/{mine}/cancel", headers=guest).status_code == 202
    jobs = api.get("/v1/jobs", headers=guest).json()["jobs"]
    assert {job["order"] for job in jobs} == {mine}
    unknown = api.get("/v1/orders/nothing", headers=guest)
    hidden = api.get(f"/v1/orders/{theirs}", headers=guest)
    assert unknown.json()["detail"].replace("nothing", theirs) == hidden.json()["detail"]


def test_lists_of_a_key_that_sees_its_own_orders_are_paged(
    serve: Serve, order_body: OrderBody
) -> None:
    """Full pages of its own, whatever lies between; asking for others' orders finds none."""
    api = serve(entry("guest", own_orders_only=True), entry("lab"))
    own = []
    for _ in range(5):
        placed(api, order_body(), "lab")
        own.append(placed(api, order_body(), "guest"))
    found: list[str] = []
    path = "/v1/orders?limit=2"
    sizes = []
    while path:
        page = api.get(path, headers=as_caller("guest")).json()
        found += [order["id"] for order in page["orders"]]
        sizes.append(len(page["orders"]))
        path = page["next"] and f"/v1/orders?limit=2&cursor={page['next']}"
    assert found == own[::-1]
    assert sizes[:3] == [2, 2, 1]
    for name, count in (("guest", 5), ("lab", 0)):
        page = api.get(f"/v1/orders?created_by={name}", headers=as_caller("guest")).json()
        assert len(page["orders"]) == count
    everybodys = api.get("/v1/orders?created_by=guest&state=queued", headers=as_caller("lab"))
    assert len(everybodys.json()["orders"]) == 5


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("lab")]))
    return path


def status_of(api: TestClient, name: str) -> int:
    return api.get("/v1/orders", headers=as_caller(name)).status_code


def test_keys_are_added_and_revoked_without_a_restart(serve: Serve, keys_file: Path) -> None:
    """The file is read again when it changes."""
    api = serve(keys_file=str(keys_file))
    assert (status_of(api, "lab"), status_of(api, "night")) == (200, 401)
    new = keys_file.with_suffix(".new")
    new.write_text(json.dumps([entry("night")]))
    new.replace(keys_file)
    wait_for(lambda: status_of(api, "night") == 200)
    assert status_of(api, "lab") == 401
    keys_file.write_text("[]")
    wait_for(lambda: status_of(api, "night") == 401)


def test_keys_come_from_a_folder_too(serve: Serve, tmp_path: Path) -> None:
    """Each file with one key or a list of them, beside those of the settings."""
    folder = tmp_path / "keys.d"
    folder.mkdir()
    (folder / "lab.json").write_text(json.dumps(entry("lab")))
    (folder / "README").write_text("no key")
    api = serve(entry("chief"), keys_file=str(folder))
    assert (status_of(api, "lab"), status_of(api, "chief")) == (200, 200)
    (folder / "night.json").write_text(json.dumps([entry("night")]))
    (folder / "lab.json").unlink()
    wait_for(lambda: status_of(api, "night") == 200 and status_of(api, "lab") == 401)
    assert status_of(api, "chief") == 200


@pytest.mark.parametrize(
    "broken",
    ["[", '[{"name": "lab"}]', '{"name": "S3CRET", "sha256": "S3CRET"}', "x" * 1_000_001, None],
    ids=["no JSON", "no hash", "no hash of a key", "too large", "deleted"],
)
def test_a_broken_file_keeps_the_last_good_keys(
    serve: Serve,
    keys_file: Path,
    announced: OrderStore,
    broken: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says so once, `/readyz` while it lasts, and neither repeats what is in the file."""
    announced.present("c", ["fetch", "deliver"])
    announced.present("w", ["gpu"])
    api = serve(keys_file=str(keys_file))
    good = keys_file.read_text()
    assert api.get("/readyz").json() == {"status": "ready"}
    keys_file.unlink()
    if broken is not None:
        keys_file.write_text(broken)
    (warning,) = wait_for(lambda: api.get("/readyz").json().get("warnings"))
    assert "services.keys_file" in warning
    assert "keys that were read before stay valid" in warning
    assert status_of(api, "lab") == 200
    wait_for(lambda: status_of(api, "lab") == 200 and api.get("/readyz").json().get("warnings"))
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "S3CRET" not in caplog.text + warning
    keys_file.write_text(good)
    wait_for(lambda: api.get("/readyz").json() == {"status": "ready"})


def test_a_broken_file_stops_the_start(serve: Serve, tmp_path: Path) -> None:
    """As any setting that cannot work."""
    with pytest.raises(ConfigError, match=r"services\.keys_file.*cannot be read"):
        serve(keys_file=str(tmp_path / "none.json"))


def test_a_file_without_keys_lets_nobody_in(serve: Serve, keys_file: Path) -> None:
    """Having revoked the last key does not open the API."""
    keys_file.write_text("[]")
    api = serve(keys_file=str(keys_file))
    assert api.get("/v1/orders").status_code == 401


def test_the_file_is_not_looked_at_for_every_request(keys_file: Path) -> None:
    """A look costs little, and a second between two is soon enough."""
    keys = api_keys.ApiKeys([], keys_file)
    looked_at = keys._looked_at
    for _ in range(100):
        keys.current()
    assert keys._looked_at - looked_at < 100 * api_keys.LOOK_AGAIN_S


def test_a_delivered_order_goes_to_a_new_destination(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """409 without one. It is checked like that of an order, and replaces the old one."""
    order_id = str(api.post("/v1/orders", json=order_body(destination=TECHCYTE)).json()["id"])
    deliver(store, order_id)
    path = f"/v1/orders/{order_id}/deliver"
    refused = api.post(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict")
    assert '{"destination": …}' in refused.json()["detail"]
    for body, code, field in (
        ({"destination": {"type": "techcyte"}}, "request_invalid", "destination.task_id"),
        ({"destination": TECHCYTE, "priority": "low"}, "request_invalid", "priority"),
        ({}, "request_invalid", "destination"),
        (
            {"destination": {"type": "annotation", "url": "http://10.0.0.1/x", "case_id": "1"}},
            "host_not_allowed",
            "destination.url",
        ),
    ):
        answer = api.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["field"] == field
    new = {"type": "annotation", "url": "https://loader.example/up?key=S3CRET", "case_id": "7"}
    answer = api.post(path, json={"destination": new})
    assert answer.status_code == 202, answer.text
    order = answer.json()
    assert order["state"] == "delivering"
    assert order["destination"] == new | {"url": "https://loader.example/up?…"}
    assert [attempt["outcome"] for attempt in order["delivery"]["attempts"]] == ["accepted"]
    assert order["acts"][0]["act"] == "deliver"


def test_an_undelivered_order_may_change_its_destination(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """With a body to the new one, without to the old one."""
    order_id = str(api.post("/v1/orders", json=order_body(destination=TECHCYTE)).json()["id"])
    classify(store, order_id)
    path = f"/v1/orders/{order_id}/deliver"
    api.post(f"/v1/orders/{order_id}/cancel")
    assert api.post(path).json()["destination"]["task_id"] == "dGFzaw=="
    api.post(f"/v1/orders/{order_id}/cancel")
    answer = api.post(path, json={"destination": TECHCYTE | {"task_id": "Mg=="}})
    assert answer.json()["destination"]["task_id"] == "Mg=="


def test_orders_of_another_key_are_shown_as_such(
    config: Config, announced: OrderStore, order_body: OrderBody, api: TestClient, redis_url: str
) -> None:
    """GET answers with the code; a list shows the order with its error; cancelling it works."""
    fine = api.post("/v1/orders", json=order_body()).json()["id"]
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    records = RedisClient(RedisUrl.at(redis_url)).records
    sealed = Fernet(Fernet.generate_key()).encrypt(b"{}").decode()
    records.hset(f"sl:order:{order_id}", "request", f"sealed:{sealed}")
    answer = api.get(f"/v1/orders/{order_id}")
    assert (answer.status_code, answer.json()["code"]) == (500, "sealed_with_another_key")
    assert answer.json()["blame"] == "platform"
    first, second = api.get("/v1/orders").json()["orders"]
    assert second["id"] == fine
    assert set(first) == {"id", "state", "created_at", "updated_at", "expires_at", "error"}
    assert (first["id"], first["state"]) == (order_id, "queued")
    assert first["error"]["code"] == "sealed_with_another_key"
    assert api.get("/metrics").status_code == 200
    cancelled = api.post(f"/v1/orders/{order_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
