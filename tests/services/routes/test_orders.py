"""Placing orders and looking at them."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import Config, load
from services.app import create_app

OrderBody = Callable[..., dict[str, Any]]
TECHCYTE = {
    "type": "techcyte",
    "host": "ci.techcyte.com",
    "task_id": "dGFzaw==",
    "jwt_token": "eyJ.s3cret.tok",
}


def finish(
    store: OrderStore, work: str, stage: Any, to: str, fields: dict[str, Any] | None = None
) -> None:
    claim = store.claim(work, stage, "w1")
    assert claim
    store.finish(claim, to, fields)


def test_an_accepted_order_is_stored_and_its_task_message_is_sent(
    api: TestClient, order_body: OrderBody, redis_url: str
) -> None:
    """202, a Location, the order as GET shows it, and one task message on the queue of the first stage."""
    answer = api.post("/v1/orders", json=order_body())
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/orders/{answer.json()['id']}"
    assert api.get(answer.headers["location"]).json() == answer.json()
    assert sum(RedisClient(RedisUrl.at(redis_url)).queue_lengths().values()) == 1


def test_defaults_of_the_algorithm_are_filled_in(api: TestClient, order_body: OrderBody) -> None:
    """The order says with which parameters it will really run."""
    answer = api.post("/v1/orders", json=order_body(parameters={"sizes": [3]}))
    assert answer.json()["parameters"] == {"positive_threshold": 0.15, "sizes": [3]}


def test_a_fresh_order_shows_every_promised_field(api: TestClient, order_body: OrderBody) -> None:
    """The shape is the contract's, and absent things are absent."""
    order = api.post(
        "/v1/orders", json=order_body(destination=TECHCYTE, labels={"case": "S26-1"})
    ).json()
    assert set(order) == {
        "id", "state", "algorithm", "parameters", "priority", "labels", "created_at", "updated_at", "expires_at",
        "created_by", "acts", "progress", "destination", "scans", "delivery", "warnings", "links",
    }  # fmt: skip
    assert set(order["scans"][0]) == {
        "id", "state", "source", "waiting", "progress", "timings", "summary", "warnings", "links",
    }  # fmt: skip
    assert order["scans"][0]["progress"] == {
        "stage": "queued", "done": 0, "total": 0, "eta_s": None,
    }  # fmt: skip
    assert order["progress"] == {"stage": "queued", "percent": 0.0, "eta_s": None}
    assert (order["state"], order["delivery"]) == ("queued", {"state": "waiting", "attempts": []})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", order["created_at"])


def test_a_stain_that_contradicts_the_card_is_refused(
    api: TestClient, announced: OrderStore, order_body: OrderBody
) -> None:
    """Before any work, unless the order asks for a warning; the card without stains takes all."""
    body = order_body()
    body["scans"][0]["stain"] = "H&E"
    assert api.post("/v1/orders", json=body).status_code == 202
    choice = {"type": "string", "enum": ["fail", "warn", "ignore"], "default": "fail"}
    schema = {"type": "object", "properties": {"on_stain_mismatch": choice}}
    card = announced.cards()["ki67"]
    announced.announce([card.model_copy(update={"stains": ("H-DAB",), "parameters": schema})])
    refused = api.post("/v1/orders", json=body)
    problem = refused.json()
    assert refused.status_code == 422
    assert (problem["code"], problem["field"]) == ("stain_unexpected", "scans[0].stain")
    body["parameters"] = {"on_stain_mismatch": "warn"}
    assert api.post("/v1/orders", json=body).status_code == 202


def test_warnings_of_a_scan_stand_in_the_order(
    api: TestClient, announced: OrderStore, order_body: OrderBody
) -> None:
    """In the scan, and in the order with the scan's id."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    work = f"{path.rpartition('/')[2]}.0"
    warning = {"code": "slide_blurred", "detail": "3 of 4 sample tiles are out of focus"}
    for stage, state, fields in (
        ("fetch", "staged", {}),
        ("classify", "classified", {"warnings": [warning]}),
    ):
        claim = announced.claim(work, stage, "w1")  # type: ignore[arg-type] - a stage each
        assert claim is not None
        announced.finish(claim, state, fields)
    order = api.get(path).json()
    assert order["scans"][0]["warnings"] == [warning]
    assert order["warnings"] == [warning | {"scan": "a"}]


def test_no_secret_comes_back(api: TestClient, order_body: OrderBody) -> None:
    """Tokens are absent and the queries of URLs replaced, in the answer, the list and the log."""
    path = api.post("/v1/orders", json=order_body(destination=TECHCYTE)).headers["location"]
    shown = "".join(api.get(p).text for p in (path, "/v1/orders", f"{path}/log"))
    assert "s3cret" not in shown
    assert "f00dfeed" not in shown
    assert "https://slides.example.org/a.svs?…" in shown


def test_the_same_key_and_body_answers_the_first_order(
    api: TestClient, order_body: OrderBody
) -> None:
    """Repeating after a lost answer makes no second order, and says that it did not."""
    key = {"Idempotency-Key": "0d6f"}
    first, again = (api.post("/v1/orders", json=order_body(), headers=key) for _ in range(2))
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers


def test_the_order_of_names_does_not_make_another_body(
    api: TestClient, order_body: OrderBody
) -> None:
    """A client whose dictionary has no fixed order may repeat all the same."""
    turned = dict(reversed(order_body().items()))
    ids = {
        api.post("/v1/orders", json=b, headers={"Idempotency-Key": "k"}).json()["id"]
        for b in (order_body(), turned)
    }
    assert len(ids) == 1


def test_the_same_key_with_another_body_is_refused(api: TestClient, order_body: OrderBody) -> None:
    """A key stands for one order."""
    key = {"Idempotency-Key": "0d6f"}
    api.post("/v1/orders", json=order_body(), headers=key)
    answer = api.post("/v1/orders", json=order_body(priority="high"), headers=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9"])
def test_an_impossible_idempotency_key_is_refused(
    api: TestClient, order_body: OrderBody, key: str
) -> None:
    """1 to 255 printable ASCII characters, or it could not be told apart safely."""
    answer = api.post(
        "/v1/orders", json=order_body(), headers={"Idempotency-Key": key.encode("latin-1")}
    )
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


def test_an_unknown_query_parameter_is_not_taken_for_an_order(
    api: TestClient, order_body: OrderBody
) -> None:
    """A query parameter that is not understood refuses the order instead of placing it."""
    answer = api.post("/v1/orders?dry_run=true", json=order_body())
    assert (answer.status_code, answer.json()["field"]) == (422, "dry_run")
    assert api.get("/v1/orders").json()["orders"] == []


def test_polling_an_unchanged_order_costs_no_body(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """304 for a known ETag, 200 again as soon as something happened."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    tag = api.get(path).headers["etag"]
    assert tag.startswith('W/"')
    unchanged = api.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    announced.claim(f"{path.rpartition('/')[2]}.0", "fetch", "w1")
    assert api.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_the_delivery_is_told_in_the_callers_words(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """Waiting, trying, delivered; each attempt with its time, status and outcome."""
    path = api.post("/v1/orders", json=order_body(destination=TECHCYTE)).headers["location"]
    order_id = path.rpartition("/")[2]
    assert api.get(path).json()["delivery"]["state"] == "waiting"
    finish(announced, f"{order_id}.0", "fetch", "staged")
    finish(announced, f"{order_id}.0", "classify", "classified", {"result": "results/x"})
    claim = announced.claim(order_id, "deliver", "w1")
    assert claim
    announced.note(claim, attempt=(0, {"digest": "d", "status": 200, "outcome": "accepted"}))
    assert api.get(path).json()["delivery"]["state"] == "trying"
    announced.finish(claim, "delivered")
    order = api.get(path).json()
    (attempt,) = order["delivery"]["attempts"]
    assert (order["delivery"]["state"], attempt["status"], attempt["outcome"]) == (
        "delivered",
        200,
        "accepted",
    )
    assert order["created_at"] <= attempt["at"] <= order["updated_at"]


def test_the_list_pages_through_what_matches(api: TestClient, order_body: OrderBody) -> None:
    """Newest first, by label, until the cursor is null."""
    ids = [
        api.post("/v1/orders", json=order_body(labels={"case": c})).json()["id"]
        for c in ("A", "B", "A", "A")
    ]
    first = api.get("/v1/orders", params={"label.case": "A", "state": "queued", "limit": 2}).json()
    second = api.get(
        "/v1/orders", params={"label.case": "A", "limit": 2, "cursor": first["next"]}
    ).json()
    assert [o["id"] for o in first["orders"] + second["orders"]] == [ids[3], ids[2], ids[0]]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "state"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=%C2%B2", "limit"),
        ("algorithm=../x", "algorithm"),
        ("cursor=-1", "cursor"),
        ("case=A", "case"),
        ("state=queued&state=failed", "state"),
        (f"label.case={'x' * 257}", "label.case"),
    ],
)
def test_a_list_query_that_is_not_understood_is_refused(
    api: TestClient, query: str, field: str
) -> None:
    """A filter that was mistyped must not answer everything."""
    answer = api.get(f"/v1/orders?{query}")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        422,
        "request_invalid",
        field,
    )


def test_the_log_is_one_line_per_thing(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """A time and a text on each line; what a far server said cannot forge another line."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    claim = announced.claim(f"{path.rpartition('/')[2]}.0", "fetch", "w1")
    assert claim
    announced.note(claim, log="the server said: no\n2020-01-01T00:00:00.000Z delivered")
    answer = api.get(f"{path}/log")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert all(re.match(r"20[2-9]\d-\d\d-\d\dT\S+Z \S", line) for line in answer.text.splitlines())
    assert not any(line.startswith("2020-") for line in answer.text.splitlines())


def test_the_log_says_why_a_scan_failed(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """Code, detail, hint and blame in the line of the state, for the scan and for the order."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    claim = announced.claim(f"{path.rpartition('/')[2]}.0", "fetch", "w1")
    assert claim
    problem = Problem("not_a_slide", "it is a page", "look at it", blame="input")
    announced.finish(claim, "failed", problem=problem)
    lines = [line.partition(" ")[2] for line in api.get(f"{path}/log").text.splitlines()]
    assert "scan a: failed: not_a_slide: it is a page; hint: look at it; blame: input" in lines
    assert lines[-1].startswith("failed: scan_failed: 1 of 1 scans failed; nothing was delivered")
    assert lines[-1].endswith("; blame: input")


def test_the_log_says_when_work_is_tried_again(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """One line for a fetch that is given back: the state, why, and the next try."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    claim = announced.claim(f"{path.rpartition('/')[2]}.0", "fetch", "w1")
    assert claim
    problem = Problem("input_unreachable", "HTTP 503", blame="platform")
    announced.give_back(claim, problem=problem, delay_s=19.5)
    last = api.get(f"{path}/log").text.splitlines()[-1]
    why = "input_unreachable: HTTP 503; blame: platform; next try in 20 s"
    assert last.endswith(f" scan a: queued: {why}")


def test_the_end_of_the_log_can_be_asked_for(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """`tail`: only the last lines, or all where there are fewer."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    announced.claim(f"{path.rpartition('/')[2]}.0", "fetch", "w1")
    lines = api.get(f"{path}/log").text.splitlines()
    assert len(lines) > 2
    assert api.get(f"{path}/log?tail=2").text.splitlines() == lines[-2:]
    assert api.get(f"{path}/log?tail=1000").text.splitlines() == lines


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tail=0", "tail"),
        ("tail=-1", "tail"),
        ("tail=1001", "tail"),
        ("tail=", "tail"),
        ("tail=ten", "tail"),
        ("tail=%C2%B2", "tail"),
        ("tail=1&tail=2", "tail"),
        ("lines=5", "lines"),
    ],
)
def test_a_tail_that_is_not_understood_is_refused(
    api: TestClient, order_body: OrderBody, query: str, field: str
) -> None:
    """As a problem that names the parameter."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    answer = api.get(f"{path}/log?{query}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_an_order_that_is_not_there_is_a_404(api: TestClient) -> None:
    """Order and log alike."""
    for path in ("/v1/orders/0123", "/v1/orders/0123/log", "/v1/orders/0123/payload"):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_too_many_waiting_orders_are_told_when_to_come_back(
    config: Config, announced: OrderStore, order_body: OrderBody
) -> None:
    """One order more than may wait is answered 429 with Retry-After."""
    settings = config.broker.model_copy(update={"max_waiting": 1})
    full = TestClient(
        create_app(config, OrderStore.connect(settings)),
        base_url="http://localhost",
        client=("127.0.0.1", 1),
    )
    assert full.post("/v1/orders", json=order_body()).status_code == 202
    answer = full.post("/v1/orders", json=order_body())
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_waiting")
    assert int(answer.headers["retry-after"]) >= 1


def test_without_redis_the_outcome_is_called_unknown(config: Config, order_body: OrderBody) -> None:
    """503 with Retry-After, and the advice that makes repeating safe."""
    away = load(**config.model_dump() | {"broker": {"redis_url": "redis://127.0.0.1:1/0"}})
    api = TestClient(
        create_app(away, OrderStore.connect(away.broker)),
        base_url="http://localhost",
        client=("127.0.0.1", 1),
    )
    answer = api.post("/v1/orders", json=order_body(), headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unreachable")
    assert "outcome unknown, repeat with the same key" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "5"
    assert api.get("/v1/orders/0").status_code == 503


def test_what_was_accepted_once_is_not_judged_again(
    api: TestClient, order_body: OrderBody, redis_url: str
) -> None:
    """A repeated order gets its first answer, also when it would be refused by now."""
    key = {"Idempotency-Key": "once"}
    first = api.post("/v1/orders", json=order_body(), headers=key)
    RedisClient(RedisUrl.at(redis_url)).records.delete("sl:cards")
    assert api.post("/v1/orders", json=order_body()).status_code == 503
    again = api.post("/v1/orders", json=order_body(), headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
