"""Kue's calls that make and show jobs: statuses, types and oddities as recorded from the real Kue."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.order_store.kue.jobs import MAX_REFUSED
from broker.orders.order import Order
from broker.settings.config import Config
from services.kue.door import MAX_JOBS
from services.kue.examples import JOB
from tests.services.kue.conftest import Job, client, sent, settings, shown
from tests.support.orders import classify, taken

JSON = "application/json; charset=utf-8"


def order_of(door: TestClient, store: OrderStore, number: int) -> Order:
    """Return the order of a job, by the label that both ways lead through."""
    link = door.get(f"/kue/job/{number}").headers["link"]
    (order,) = store.find(labels={"kue": str(number)}).orders
    assert link == f'</v1/orders/{order.id}>; rel="alternate"'
    return order


def delivered(store: OrderStore, order: Order) -> None:
    """Do what a worker and a courier do."""
    classify(store, order.id)
    store.finish(taken(store, order.id, "deliver"), "delivered")


def test_a_job_is_created(door: TestClient, viewer_job: Job) -> None:
    """The id is a number in the answer, and text in the document, as in the path."""
    answer = door.post("/kue/job", json=viewer_job())
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert answer.json() == {"message": "job created", "id": 1}
    job = shown(door, 1)
    assert (job["id"], job["type"], job["data"]) == ("1", "analysisJob", JOB["data"])
    assert (job["state"], job["priority"], job["progress"]) == ("inactive", 0, 0)
    assert job["attempts"] == {"made": 0, "remaining": 1, "max": 1}
    times = [job["created_at"], job["promote_at"], job["updated_at"]]
    assert all(isinstance(time, str) and len(time) == 13 and time.isdigit() for time in times)
    assert set(job) == {
        *("id", "type", "data", "state", "priority", "progress", "attempts"),
        *("created_at", "promote_at", "updated_at"),
    }


def test_nothing_is_null(door: TestClient, store: OrderStore, viewer_job: Job) -> None:
    """A field without a value is absent, at every moment of a job's life."""
    number = sent(door, viewer_job())
    order = order_of(door, store, number)
    texts = [door.get(f"/kue/job/{number}").text]
    taken(store, f"{order.id}.0", "fetch")
    texts.append(door.get(f"/kue/job/{number}").text)
    store.cancel(order.id)
    texts.append(door.get(f"/kue/job/{number}").text)
    texts.append(door.get("/kue/jobs/0..9").text)
    assert not [text for text in texts if "null" in text.replace('"eta_s":null', "")]


def test_an_array_creates_the_good_ones(door: TestClient, viewer_job: Job) -> None:
    """The status is that of the first failure; each answer is in its place."""
    jobs = [viewer_job(), {"data": {}}, viewer_job(type="order"), 5]
    answer = door.post("/kue/job", json=jobs)
    missing = {"error": "Must provide job type"}
    assert answer.status_code == 400
    assert answer.json() == [
        {"message": "job created", "id": 1},
        missing,
        {"message": "job created", "id": 2},
        missing,
    ]
    assert [job["type"] for job in door.get("/kue/jobs/0..9").json()] == ["analysisJob", "order"]
    good = door.post("/kue/job", json=[viewer_job(), viewer_job()])
    assert (good.status_code, len(good.json())) == (200, 2)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        ("{}", "application/json"),
        ("[]", "application/json"),
        ("", "application/json"),
        ("type=analysisJob&data%5Btitle%5D=x", "application/x-www-form-urlencoded"),
        (json.dumps(JOB), "text/plain"),
        (json.dumps(JOB), ""),
    ],
)
def test_a_body_without_a_job_is_answered_with_nothing(
    door: TestClient, store: OrderStore, content: str, media_type: str
) -> None:
    """Empty, or not declared as JSON, as by PHP's curl without a header: 204."""
    answer = door.post("/kue/job", content=content, headers={"Content-Type": media_type})
    assert (answer.status_code, answer.content) == (204, b"")
    assert not store.find().orders


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ({"data": {}}, "Must provide job type"),
        ({"type": ""}, "Must provide job type"),
        ({"type": None}, "Must provide job type"),
        ({"type": ["analysisJob"]}, "Must provide job type"),
        ({"type": "analysisJob", "options": {"backoff": "process.exit()"}}, "options.backoff"),
        ({"type": "x" * 65}, "type: it is printable"),
        ({"type": "a\nb"}, "type: it is printable"),
        ('{"type": ', "line 1"),
        ('"analysisJob"', "the body is a job or an array of jobs"),
        ('{"type": "a", "type": "b"}', "given twice"),
        ('{"type": NaN}', "NaN"),
    ],
)
def test_what_kue_refuses_is_refused(
    door: TestClient, store: OrderStore, job: Any, error: str
) -> None:
    """400 with `error`, and no job; a text as backoff would be run by Kue."""
    content = job if isinstance(job, str) else json.dumps(job)
    answer = door.post("/kue/job", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, JSON)
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"]
    assert door.get("/kue/jobs/0..9").json() == []


def test_bodies_are_bounded(door: TestClient, config: Config, announced: OrderStore) -> None:
    """Kue reads 100 kB; an array has at most 1000 jobs, and none of more is made."""
    large = client(settings(config), announced)
    answer = door.post("/kue/job", json={"type": "order", "data": {"note": "x" * 103_000}})
    assert answer.status_code == 413
    assert "error" in answer.json()
    jobs = [{"type": "x"}] * (MAX_JOBS + 1)
    many = large.post("/kue/job", json=jobs)
    assert (many.status_code, "divide it" in many.json()["error"]) == (400, True)
    assert large.get("/kue/jobs/0..9").json() == []


@pytest.mark.parametrize("word", ["999", "undefined", "01", "1.0", "-1", "%31x", "9" * 40])
def test_a_job_that_is_not_there(door: TestClient, word: str) -> None:
    """200 with Kue's words; the log of it is empty."""
    for answer in (door.get(f"/kue/job/{word}"), door.delete(f"/kue/job/{word}")):
        assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
        said = answer.json()["error"]
        assert said.startswith('job "')
        assert said.endswith('" doesnt exist')
    assert door.get("/kue/job/999").json() == {"error": 'job "999" doesnt exist'}
    log = door.get(f"/kue/job/{word}/log")
    assert (log.status_code, log.json()) == (200, [])


def test_a_job_follows_its_order(door: TestClient, store: OrderStore, viewer_job: Job) -> None:
    """`complete` only when the destination has confirmed; until then `active`."""
    number = sent(door, viewer_job())
    order = order_of(door, store, number)
    taken(store, f"{order.id}.0", "fetch")
    active = shown(door, number)
    assert (active["state"], active["workerId"]) == ("active", "w1")
    assert active["started_at"] >= active["created_at"]
    store.take_back("w1", "signal 15", asked_to_stop=True)
    classify(store, order.id)
    assert store.get(order.id).state == "delivering"
    delivering = shown(door, number)
    assert (delivering["state"], delivering["progress"]) == ("active", "95")
    assert delivering["progress_data"]["order"] == order.id
    assert "result" not in delivering
    store.finish(taken(store, order.id, "deliver"), "delivered")
    complete = shown(door, number)
    assert (complete["state"], complete["progress"]) == ("complete", "100")
    assert complete["result"]["order"] == order.id
    assert [scan["id"] for scan in complete["result"]["scans"]] == ["CMU1"]
    assert int(complete["duration"]) == int(complete["updated_at"]) - int(complete["started_at"])
    assert complete["attempts"] == {"made": 1, "remaining": 0, "max": 1}


@pytest.mark.parametrize("how", ["failed", "undelivered", "cancelled"])
def test_every_bad_end_is_failed(
    door: TestClient, store: OrderStore, viewer_job: Job, how: str
) -> None:
    """With an error whose first line is the message; a scan's own reason goes before the order's."""
    number = sent(door, viewer_job())
    order = order_of(door, store, number)
    fault = Problem("roi_outside_slide", "it lies outside", "draw it again", blame="input")
    if how == "cancelled":
        store.cancel(order.id)
    elif how == "failed":
        store.finish(taken(store, f"{order.id}.0", "fetch"), "failed", problem=fault)
    else:
        classify(store, order.id)
        store.finish(taken(store, order.id, "deliver"), "undelivered", problem=fault)
    job = shown(door, number)
    assert job["state"] == "failed"
    assert job["failed_at"] >= job["created_at"]
    if how == "cancelled":
        assert job["error"].startswith("cancelled: ")
    else:
        assert job["error"] == "roi_outside_slide: it lies outside\nhint: draw it again"


def test_a_job_and_its_order_are_seen_both_ways(
    door: TestClient, store: OrderStore, viewer_job: Job
) -> None:
    """`/v1/orders` finds it by number, case and run; its creator is the door."""
    number = sent(door, viewer_job())
    order = order_of(door, store, number)
    view = door.get(f"/v1/orders?label.kue={number}").json()["orders"][0]
    assert (view["id"], view["created_by"]) == (order.id, "kue")
    run = JOB["data"]["execution_id"]
    assert view["labels"] == {"kue": str(number), "case": "CMU1", "execution": run}
    assert door.get("/v1/orders?created_by=kue").json()["orders"][0]["id"] == order.id
    assert door.get(f"/v1/orders/{order.id}/log").status_code == 200


def test_a_log_is_a_list_of_texts(door: TestClient, store: OrderStore, viewer_job: Job) -> None:
    """That of the order, oldest first; of a job that could be no order, why."""
    number = sent(door, viewer_job())
    log = door.get(f"/kue/job/{number}/log").json()
    assert all(isinstance(line, str) for line in log)
    assert log[0].endswith(" queued")
    refused = sent(door, {"type": "quip_composite_cwl"})
    (line,) = door.get(f"/kue/job/{refused}/log").json()
    assert "algorithm_unknown" in line


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ({"type": "quip_composite_cwl", "data": {}}, "algorithm_unknown: type: no algorithm"),
        ({"type": "nothing", "data": JOB["data"]}, "algorithm_unknown: there is no algorithm"),
        ({"type": "analysisJob"}, "request_invalid: data.order.image.case_id"),
        ({"type": "analysisJob", "data": "text"}, "request_invalid: data.order.image.case_id"),
        (JOB | {"options": {"priority": "soon"}}, "request_invalid: options.priority"),
        (JOB | {"options": {"delay": 10**15}}, "request_invalid: delay_s"),
    ],
)
def test_an_impossible_order_is_a_failed_job(
    door: TestClient, store: OrderStore, job: Any, why: str
) -> None:
    """An id and a job that is failed: without one the viewer would wait for ever."""
    number = sent(door, job)
    failed = shown(door, number)
    assert failed["state"] == "failed"
    assert failed["error"].startswith(why)
    assert failed["attempts"] == {"made": 1, "remaining": 0, "max": 1}
    assert "link" not in door.get(f"/kue/job/{number}").headers
    assert not store.find().orders


def test_a_full_queue_fails_jobs(config: Config, announced: OrderStore, viewer_job: Job) -> None:
    """`max_waiting` bounds what strangers can make wait; the viewer reads that it failed."""
    door = client(settings(config, max_waiting=1), announced)
    assert shown(door, sent(door, viewer_job()))["state"] == "inactive"
    assert shown(door, sent(door, viewer_job()))["error"].startswith("too_many_waiting")


def test_failed_jobs_do_not_fill_redis(door: TestClient, store: OrderStore) -> None:
    """Of those that could be no order the newest are kept, without data that are large."""
    for _ in "123":
        sent(door, {"type": "x"})
    records = store._client.records
    numbers = range(2003, 2000 + MAX_REFUSED)  # with the three and the next one, one too many
    records.zadd("sl:kue:refused", {str(number): 10**14 for number in numbers})
    number = sent(door, {"type": "x", "data": {"note": "y" * 17_000}})
    assert shown(door, number)["data"] == {}
    assert records.zcard("sl:kue:refused") == MAX_REFUSED
    assert [job["id"] for job in door.get("/kue/jobs/failed/0..9").json()] == [2, 3, 4]


@pytest.mark.parametrize(
    ("given", "shown_as", "ordered"),
    [
        ("high", -10, "high"),
        ("critical", -15, "high"),
        ("low", 10, "low"),
        ("medium", -5, "high"),
        (7, 7, "low"),
        ("-3", -3, "normal"),
        (None, 0, "normal"),
        ("normal", 0, "normal"),
    ],
)
def test_priorities(
    door: TestClient,
    store: OrderStore,
    viewer_job: Job,
    given: Any,
    shown_as: int,
    ordered: str,
) -> None:
    """Names and numbers; the order gets at most `max_priority`, the job shows what was sent."""
    number = sent(door, viewer_job(options={"priority": given}))
    assert shown(door, number)["priority"] == shown_as
    assert order_of(door, store, number).request.priority == ordered


def test_options_may_be_texts(door: TestClient, store: OrderStore, viewer_job: Job) -> None:
    """Attempts, and a delay that makes the job `delayed` until created + delay."""
    options = {"attempts": "3", "delay": "3600000", "ttl": 5000, "backoff": {"type": "fixed"}}
    job = shown(door, sent(door, viewer_job(options=options | {"searchKeys": ["title"]})))
    assert (job["state"], job["delay"], job["ttl"]) == ("delayed", "3600000", "5000")
    assert int(job["promote_at"]) == int(job["created_at"]) + 3_600_000
    assert job["attempts"] == {"made": 0, "remaining": 3, "max": 3}
    request = order_of(door, store, 1).request
    assert (request.attempts, request.delay_s) == (3, 3600.0)
    odd = {"attempts": "many", "delay": -5, "priority": ""}
    plain = shown(door, sent(door, viewer_job(options=odd)))
    assert (plain["state"], plain["attempts"]["max"], "delay" in plain) == ("inactive", 1, False)
    assert order_of(door, store, 2).request.attempts is None
    empty = shown(door, sent(door, viewer_job(options=[])))
    assert empty["state"] == "inactive"


def test_a_delay_that_is_over_makes_a_job_inactive(
    door: TestClient, store: OrderStore, viewer_job: Job
) -> None:
    """Whoever looks, sees it; as Kue's promotion does."""
    number = sent(door, viewer_job(options={"delay": 1}))
    for _ in range(1000):
        if shown(door, number)["state"] != "delayed":
            break
    assert shown(door, number)["state"] == "inactive"
    assert store.kue.count_in("delayed") == 0


def test_the_same_order_again_is_another_job(
    door: TestClient, store: OrderStore, viewer_job: Job
) -> None:
    """A viewer that orders again expects a new run; the layer keeps its name."""
    numbers = {sent(door, viewer_job()) for _ in range(2)}
    runs = [order.request.labels["execution"] for order in store.find().orders]
    assert (len(numbers), runs) == (2, [JOB["data"]["execution_id"]] * 2)


def test_a_client_that_repeats_may_say_so(door: TestClient, viewer_job: Job) -> None:
    """With an Idempotency-Key, which Kue has not, a repetition is the first job, in arrays too."""
    key = {"Idempotency-Key": "3f1c"}
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(
                lambda _: door.post("/kue/job", json=viewer_job(), headers=key).json(), range(4)
            )
        )
    assert len({answer["id"] for answer in answers}) == 1
    other = door.post("/kue/job", json=viewer_job(type="order"), headers=key)
    assert other.status_code == 400
    two = [viewer_job(), viewer_job()]
    batches = [door.post("/kue/job", json=two, headers={"Idempotency-Key": "b"}) for _ in "12"]
    assert batches[0].json() == batches[1].json()
    assert len(door.get("/kue/jobs/0..9").json()) == 3
