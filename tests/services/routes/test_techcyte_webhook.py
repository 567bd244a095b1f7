"""The address that Techcyte posts its tasks to: one task is one order, whoever repeats it."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.orders.order import Order
from broker.orders.request import OrderRequest, TechcyteDestination
from broker.orders.source import UrlSource
from broker.settings.config import Config, ConfigError, load
from services.app import create_app
from services.requests.techcyte_task import EXAMPLE
from services.routes.techcyte import REPEATED
from tests.services.conftest import LOOPBACK

SECRET = "4d0f9c3e-address"
OTHER_SECRET = "77aa-another-address"
TOKEN = "tok-9f8e7d6c"
ADDRESS = f"/techcyte/webhook/{SECRET}"
SIGNED = "https://bucket.example.org/{}?X-Amz-Expires=3600&X-Amz-Signature=5160ed"
KI67 = {"algorithm": "ki67", "parameters": {"positive_threshold": 0.3}}
WEBHOOK: dict[str, Any] = {
    "secret": SECRET,
    "host": "ci.techcyte.com",
    "algorithms": {"ki67-lab": KI67, "by-mask": {"algorithm": "ki67"}},
}
KEYED: dict[str, Any] = {
    "secret": OTHER_SECRET,
    "name": "with-key",
    "base_url": "https://api.app.techcyte.com/api/v3",
    "algorithms": {"*": {"algorithm": "ki67"}},
    "api_key_id": "lab-key",
    "api_key_secret": "k3y-secret",
}
TASK: dict[str, Any] = {
    "company_id": 21,
    "task_id": "dGFzazoxODU3MTQ=",
    "case_id": "aHVtYW5DYXNlOjU1",
    "model_id": "ki67-lab",
    "jwt_token": TOKEN,
    "scans": {"8946136": SIGNED.format("b33359b.8061860")},
}
Answer = tuple[int, Any]


def settings(config: Config, *webhooks: dict[str, Any], **broker: Any) -> Config:
    services = {"max_body_bytes": 20_000, "techcyte": {"webhooks": webhooks}}
    return load(broker=config.broker.model_dump() | broker, services=services)


@pytest.fixture
def door(config: Config, announced: OrderStore) -> TestClient:
    """The API with two webhooks, called from elsewhere through a proxy, without any API key."""
    return TestClient(
        create_app(settings(config, WEBHOOK, KEYED), announced),
        base_url="https://slides.example.org",
        client=("203.0.113.7", 4711),
        headers={"X-Forwarded-For": "198.51.100.3"},
    )


def post(door: TestClient, task: Any, address: str = ADDRESS) -> Answer:
    answer = door.post(address, json=task)
    return answer.status_code, answer.json()


def taken(door: TestClient, store: OrderStore, task: Any, address: str = ADDRESS) -> OrderRequest:
    """Post a task, and return the request of the order that it became."""
    status, answer = post(door, task, address)
    assert status == 200, answer
    return ordered(store, answer).request


def ordered(store: OrderStore, answer: Any) -> Order:
    order = store.get(answer["order_id"])
    assert isinstance(order, Order)
    return order


def urls(request: OrderRequest) -> dict[str, list[str]]:
    """Return the URLs of each scan in clear."""
    found = {}
    for scan in request.scans:
        assert isinstance(scan.source, UrlSource)
        found[scan.id] = [url for _, url in scan.source.addresses]
    return found


def destination(request: OrderRequest) -> TechcyteDestination:
    assert isinstance(request.destination, TechcyteDestination)
    return request.destination


def test_a_task_becomes_an_order(door: TestClient, store: OrderStore) -> None:
    """Algorithm and parameters of the model, the task as destination, case and task as labels."""
    status, answer = post(door, TASK)
    assert (status, set(answer)) == (200, {"message", "order_id"})
    order = ordered(store, answer)
    request = order.request
    assert (request.algorithm, request.parameters) == ("ki67", {"positive_threshold": 0.3})
    assert urls(request) == {"8946136": [TASK["scans"]["8946136"]]}
    results_to = destination(request)
    assert (results_to.host, results_to.task_id) == ("ci.techcyte.com", TASK["task_id"])
    assert results_to.jwt_token is not None
    assert results_to.jwt_token.get_secret_value() == TOKEN
    assert request.labels == {"task": TASK["task_id"], "case": TASK["case_id"]}
    assert store.created_by(order.id) == "techcyte"


def test_the_published_example_is_taken(door: TestClient, store: OrderStore) -> None:
    """Of /openapi.json."""
    document = door.get("/openapi.json").json()
    body = document["paths"]["/techcyte/webhook/{secret}"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]
    assert example == EXAMPLE
    request = taken(door, store, example, f"/techcyte/webhook/{OTHER_SECRET}")
    assert [scan.stain for scan in request.scans] == ["Ki67"]


@pytest.mark.parametrize("model", ["model_id", "model_name"])
@pytest.mark.parametrize("token", ["jwt_token", "token"])
def test_both_spellings_are_read(
    door: TestClient, store: OrderStore, model: str, token: str
) -> None:
    """Documents and examples of Techcyte differ; the field that is not used may be empty."""
    empty = {"model_id": "", "model_name": "", "jwt_token": None, "token": ""}
    task = TASK | empty | {model: "by-mask", token: "tok-1"}
    request = taken(door, store, task)
    results_to = destination(request)
    assert results_to.jwt_token is not None
    assert results_to.jwt_token.get_secret_value() == "tok-1"
    assert request.parameters == {"positive_threshold": 0.15}


def test_all_scans_of_a_task_are_one_order(door: TestClient, store: OrderStore) -> None:
    """`scan_urls` goes before `scans`; several URLs of a scan are a DICOM series; a scan that only
    `scans` has is not lost."""
    series = [SIGNED.format(f"{n}.dcm") for n in range(3)]
    task = TASK | {
        "scans": {
            "1": SIGNED.format("first.dcm"),
            "2": SIGNED.format("old"),
            "3": SIGNED.format("3"),
        },
        "scan_urls": {"1": series, "2": [SIGNED.format("new")], "3": []},
    }
    request = taken(door, store, task)
    assert urls(request) == {
        "1": series,
        "2": [SIGNED.format("new")],
        "3": [SIGNED.format("3")],
    }
    assert len(store.find().orders) == 1


@pytest.mark.parametrize(
    ("stains", "expected"),
    [
        ({"1": {"value": "ki67", "label": "Ki-67 (MIB-1)"}}, ["ki67", None]),
        ({"1": {"value": "opt-17", "label": "H-DAB", "stain_code": "X"}, "9": 4}, ["H-DAB", None]),
        ({"1": {"value": None, "stain_code": "S17"}, "2": "Ki67"}, ["S17", "Ki67"]),
        ({"1": {"value": "y" * 90}, "2": ["H&E"]}, ["y" * 64, None]),
        (None, [None, None]),
    ],
)
def test_each_scan_has_its_stain(
    door: TestClient, store: OrderStore, stains: Any, expected: list[str | None]
) -> None:
    """The name that is known here; stains may be absent, lack scans or have forms of their own."""
    task = TASK | {"scans": {n: SIGNED.format(n) for n in "12"}, "stains": stains}
    assert [scan.stain for scan in taken(door, store, task).scans] == expected


def test_escaped_ampersands_and_unknown_fields_are_taken(
    door: TestClient, store: OrderStore
) -> None:
    r"""Techcyte escapes `&` as `\u0026`, and may add fields; no media type is insisted on."""
    raw = json.dumps(TASK | {"priority": {"level": [1, None]}, "v": 2}).replace("&", "\\u0026")
    assert "\\u0026" in raw
    answer = door.post(ADDRESS, content=raw, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 200
    assert urls(ordered(store, answer.json()).request) == {"8946136": [TASK["scans"]["8946136"]]}


def test_a_task_without_a_token_uses_the_api_key(door: TestClient, store: OrderStore) -> None:
    """The address comes from the settings; a task with a token keeps to its token."""
    address = f"/techcyte/webhook/{OTHER_SECRET}"
    task = TASK | {"jwt_token": "", "model_id": "", "task_id": 185715}
    by_key = destination(taken(door, store, task, address))
    assert by_key.base_url is not None
    assert by_key.base_url.get_secret_value() == KEYED["base_url"]
    assert (by_key.task_id, by_key.jwt_token, by_key.api_key_id) == ("185715", None, "lab-key")
    assert by_key.api_key_secret is not None
    assert by_key.api_key_secret.get_secret_value() == "k3y-secret"
    by_token = destination(taken(door, store, TASK, address))
    assert (by_token.jwt_token is None, by_token.api_key_secret) == (False, None)


def renewed(**more: Any) -> dict[str, Any]:
    """Return the task as it is sent again: other signatures, another token."""
    text = json.dumps(TASK).replace("5160ed", "0ddba11").replace(TOKEN, "tok-later")
    return dict(json.loads(text)) | more


@pytest.mark.parametrize(
    "again",
    [
        TASK,
        renewed(),
        renewed(task_id=185714),
        renewed(model_id=None, model_name="ki67-lab"),
        renewed(scans={}, scan_urls={"8946136": [SIGNED.format("b33359b.8061860")]}),
        renewed(stains={"8946136": {"value": "Ki67"}}, case_id=None, company_id=None),
        renewed(jwt_token=None),
        renewed(
            scans={"8946136": SIGNED.format("b33359b.8061860") + "&X-Amz-Date=20200101T000000Z"}
        ),
    ],
)
def test_the_same_task_again_is_the_same_order(
    door: TestClient, store: OrderStore, again: dict[str, Any]
) -> None:
    """Whatever was signed anew, expired or is written otherwise, and after a restart of the API."""
    first = post(door, TASK)[1]["order_id"]
    status, answer = post(door, again)
    assert (status, answer["order_id"]) == (200, first)
    assert len(store.find().orders) == 1


def test_a_repeated_task_is_known_after_changes_and_a_restart(
    door: TestClient, config: Config, announced: OrderStore
) -> None:
    """Another secret of the same name, the host written as a URL, the model taken out of the
    settings, no worker left."""
    first = post(door, TASK)[1]["order_id"]
    changed = {
        "secret": "a-newer-address",
        "base_url": "https://api.CI.techcyte.com/api/v3/",
        "algorithms": {"other": KI67},
    }
    announced.announce([])
    restarted = TestClient(create_app(settings(config, changed), announced))
    assert post(restarted, renewed(), "/techcyte/webhook/a-newer-address")[1]["order_id"] == first
    assert len(announced.find().orders) == 1


def test_the_task_of_a_deleted_order_is_not_run_again(door: TestClient, store: OrderStore) -> None:
    """Whoever deletes an order does not ask for a second one; its id is answered still."""
    order_id = post(door, TASK)[1]["order_id"]
    store.cancel(order_id, "somebody")
    store.delete_with_files(order_id, "somebody")
    assert post(door, renewed()) == (200, {"message": REPEATED, "order_id": order_id})
    assert not store.find().orders


def test_a_task_is_known_for_as_long_as_an_order_is_kept(
    door: TestClient, store: OrderStore, config: Config
) -> None:
    """Not only for `broker.idempotency_s`: a second post to a task cannot be taken back."""
    post(door, TASK)
    (key,) = store._client.records.keys("sl:key:*")
    life_s = store._client.records.ttl(key)
    assert config.broker.idempotency_s < config.broker.keep_s - 60 < life_s


def test_parallel_repetitions_make_one_order(door: TestClient, store: OrderStore) -> None:
    """Eight at once, each with signatures of its own."""
    tasks = [
        renewed(scans={"8946136": SIGNED.format("b33359b.8061860") + f"&n={n}"}) for n in range(8)
    ]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda task: post(door, task), tasks))
    assert {status for status, _ in answers} == {200}
    assert len({answer["order_id"] for _, answer in answers}) == 1
    assert len(store.find().orders) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"model_id": "by-mask"},
        {"scans": {"8946136": SIGNED.format("another.svs")}},
        {"scans": TASK["scans"] | {"8946137": SIGNED.format("b.svs")}},
    ],
)
def test_a_task_with_other_scans_is_a_conflict(
    door: TestClient, store: OrderStore, other: dict[str, Any]
) -> None:
    """A second order would post a second time to the task; taking it for the first would lose what
    is new. So it is refused, and the problem names the order."""
    first = post(door, TASK)[1]["order_id"]
    status, problem = post(door, renewed(**other))
    assert (status, problem["code"], problem["field"]) == (409, "task_reused", "task_id")
    assert first in problem["detail"]
    assert len(store.find().orders) == 1


def test_two_hosts_and_two_names_have_tasks_of_their_own(
    config: Config, announced: OrderStore
) -> None:
    """The number of a task is that of one host; one laboratory cannot take another's number."""
    secrets = ["secret-of-one", "secret-of-two", "secret-of-three"]
    hosts = ["ci.techcyte.com", "app.techcyte.com", "app.techcyte.com"]
    names = ["techcyte", "techcyte", "lab-b"]
    webhooks = [
        WEBHOOK | {"secret": secret, "host": host, "name": name}
        for secret, host, name in zip(secrets, hosts, names, strict=True)
    ]
    api = TestClient(create_app(settings(config, *webhooks), announced))
    ids = {post(api, TASK, f"/techcyte/webhook/{secret}")[1]["order_id"] for secret in secrets}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("task", "status", "code", "field"),
    [
        (TASK | {"model_id": "unknown"}, 422, "algorithm_unknown", "model_id"),
        (TASK | {"model_id": None}, 422, "algorithm_unknown", "model_id"),
        (TASK | {"model_id": 0.5}, 422, "request_invalid", "model_id"),
        (TASK | {"jwt_token": ""}, 422, "request_invalid", "jwt_token"),
        (TASK | {"jwt_token": [TOKEN]}, 422, "request_invalid", "jwt_token"),
        (TASK | {"task_id": None}, 422, "request_invalid", "task_id"),
        (TASK | {"task_id": True}, 422, "request_invalid", "task_id"),
        (TASK | {"task_id": "t" * 300}, 422, "request_invalid", "destination.task_id"),
        (TASK | {"case_id": "c" * 300}, 422, "request_invalid", "labels.case"),
        (TASK | {"scans": {}}, 422, "request_invalid", "scans"),
        (TASK | {"scans": None}, 422, "request_invalid", "scans"),
        (TASK | {"scans": [TASK["scans"]]}, 422, "request_invalid", "scans"),
        (TASK | {"scans": {"1": {"url": "x"}}}, 422, "request_invalid", "scans"),
        (TASK | {"scan_urls": {"1": []}, "scans": {"1": ""}}, 422, "request_invalid", "scans"),
        (TASK | {"scan_urls": {"1": [1]}}, 422, "request_invalid", "scan_urls"),
        (TASK | {"scans": {"../1": SIGNED}}, 422, "request_invalid", "scans[0].id"),
        (TASK | {"scans": {"1": "ftp://a/b"}}, 422, "request_invalid", "scans[0].source.url"),
        (TASK | {"scans": {"1": "http://[x"}}, 422, "request_invalid", "scans[0].source.url"),
        (
            TASK | {"scans": {"1": "http://10.0.0.1/"}},
            422,
            "host_not_allowed",
            "scans[0].source.url",
        ),
        (TASK | {"scans": {str(n): SIGNED for n in range(65)}}, 422, "request_invalid", "scans"),
        ([TASK], 422, "request_invalid", None),
    ],
)
def test_what_cannot_be_an_order_is_refused(
    door: TestClient,
    store: OrderStore,
    task: Any,
    status: int,
    code: str,
    field: str | None,
) -> None:
    """With a problem that names the field and shows no secret; nothing is stored."""
    answered, problem = post(door, task)
    assert (answered, problem["code"], problem.get("field")) == (status, code, field)
    assert problem["instance"] == "/techcyte/webhook/…"
    text = json.dumps(problem)
    assert not [secret for secret in (SECRET, TOKEN, "5160ed") if secret in text]
    assert not store.find().orders


def test_an_expired_url_is_refused(door: TestClient) -> None:
    """As for any order: a worker could not fetch it."""
    dead = SIGNED.format("a.svs") + "&X-Amz-Date=20200101T000000Z"
    status, problem = post(door, TASK | {"scans": {"1": dead}})
    assert (status, problem["code"]) == (410, "input_expired")


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b'{"task_id": ', 400, "body_not_json"),
        (b"\xff", 400, "body_not_json"),
        (b"", 400, "body_not_json"),
        (b'{"task_id": 1, "task_id": 2}', 422, "request_invalid"),
        (json.dumps(TASK | {"task_id": "\ud800"}).encode(), 400, "body_not_json"),
        (json.dumps(TASK | {"model_id": "\ud800"}).encode(), 422, "algorithm_unknown"),
        (json.dumps(TASK | {"scans": {"\ud800": 1}}).encode(), 422, "request_invalid"),
        (b" " * 20_001, 413, "body_too_large"),
    ],
)
def test_a_body_that_is_no_task_is_refused(
    door: TestClient, raw: bytes, status: int, code: str
) -> None:
    """Broken, ambiguous, or larger than `services.max_body_bytes`."""
    answer = door.post(ADDRESS, content=raw, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "secret", ["wrong", SECRET[:-1], SECRET + "x", "%C3%A9%FF", SECRET.upper()]
)
def test_a_wrong_secret_finds_nothing(door: TestClient, store: OrderStore, secret: str) -> None:
    """The words are those of an address that is not there; the body is not read."""
    answer = door.post(f"/techcyte/webhook/{secret}", content=b"x" * 30_000)
    nothing = door.post("/techcyte/nothing", json={}).json()
    assert answer.status_code == 404
    assert answer.json() | {"instance": ""} == nothing | {"instance": ""}
    assert not store.find().orders


def test_without_webhooks_the_address_is_not_there(api: TestClient) -> None:
    """Whatever the secret."""
    for secret in (SECRET, "techcyte", "*"):
        assert post(api, TASK, f"/techcyte/webhook/{secret}")[0] == 404


def test_an_origin_is_no_reason_to_refuse_a_task(door: TestClient) -> None:
    """The check is for pages that use a browser's place on loopback; the secret is the right here.
    Everything else of this API still refuses strangers."""
    foreign = {"Origin": "https://app.techcyte.com", "Sec-Fetch-Site": "cross-site"}
    assert door.post(ADDRESS, json=TASK, headers=foreign).status_code == 200
    refused = door.post("/v1/orders", json={}, headers=foreign)
    assert refused.json()["code"] == "foreign_origin"
    assert door.get("/v1/orders").json()["code"] == "loopback_only"


def test_no_api_key_is_needed_where_others_need_one(config: Config, announced: OrderStore) -> None:
    """The secret opens this address alone."""
    keys = [{"name": "lab", "sha256": "0" * 64}]
    locked = settings(config, WEBHOOK)
    services = locked.services.model_dump() | {"keys": keys, "host": "0.0.0.0"}  # noqa: S104 - to test it
    api = TestClient(create_app(load(**locked.model_dump() | {"services": services}), announced))
    assert post(api, TASK)[0] == 200
    assert api.get("/v1/orders").json()["code"] == "key_missing"
    assert api.get("/v1/orders", headers={"X-API-Key": SECRET}).json()["code"] == "key_missing"


def test_a_bug_does_not_put_the_secret_into_the_log(
    config: Config, announced: OrderStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the address without its last part."""
    app = create_app(settings(config, WEBHOOK), announced)
    app.state.store = None
    with caplog.at_level(logging.ERROR):
        answer = TestClient(app, client=LOOPBACK).post(ADDRESS, json=TASK)
    assert (answer.status_code, answer.json()["code"]) == (500, "bug")
    assert "/techcyte/webhook/…" in caplog.text
    assert SECRET not in caplog.text + answer.text


@pytest.mark.parametrize(
    ("webhooks", "named"),
    [
        ([WEBHOOK | {"secret": "short"}], "8 to 256"),
        ([WEBHOOK | {"secret": "with/slash/in/it"}], "8 to 256"),
        ([WEBHOOK | {"host": None}], "host or base_url"),
        ([WEBHOOK | {"base_url": "https://x.example"}], "host or base_url"),
        ([WEBHOOK | {"algorithms": {}}], "algorithms"),
        ([WEBHOOK | {"algorithms": {"m": {"algorithm": "Ki 67"}}}], "algorithms.m.algorithm"),
        ([WEBHOOK | {"api_key_id": "lab"}], "go together"),
        ([WEBHOOK | {"host": "10.1.2.3"}], "webhooks[0]"),
        ([WEBHOOK, KEYED | {"secret": SECRET}], "the same secret"),
        ([WEBHOOK | {"modles": {}}], "modles"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(
    config: Config, webhooks: list[dict[str, Any]], named: str
) -> None:
    """With a message that names the key and holds no secret."""
    with pytest.raises(ConfigError) as caught:
        settings(config, *webhooks)
    assert "services" in str(caught.value)
    assert named in str(caught.value)
    assert not [word for word in (SECRET, "with/slash", "k3y") if word in str(caught.value)]
