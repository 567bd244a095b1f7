"""Images, runnable containers and classes, as the workers of all machines announced them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.orders.algorithm_card import Announcement
from broker.orders.hosting import (
    FROM_CONFIG,
    ContainerCard,
    HostedPrograms,
    ImageCard,
    MachineClassCard,
)

IMAGE = "registry.lab/mitosis:3"
DIGEST = "sha256:" + "ab" * 32
HERE = ImageCard(
    name="Mitosis 3",
    image=IMAGE,
    status="uploaded",
    digest=DIGEST,
    engine="podman",
    created_by="anna",
    created_at=1_700_000_000.0,
    updated_at=1_700_000_060.0,
)
ABSENT = ImageCard(name="mitosis", image=IMAGE, status="created", created_by=FROM_CONFIG)
CONTAINER = ContainerCard(
    name="mitosis",
    kind="container",
    image=IMAGE,
    class_name="g4dn.xlarge",
    queue="g4dn",
    time_limit_s=5400,
    variables=("DOWNSAMPLE", "LICENSE_KEY"),
)
CLASS = MachineClassCard(name="g4dn.xlarge", queue="g4dn", cpus=4, memory_bytes=16 * 10**9, gpus=1)


def listed(api: TestClient, what: str) -> list[dict[str, Any]]:
    answer = api.get(f"/v1/{what}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()[what]
    return found


def test_nothing_is_listed_before_a_worker_has_announced_anything(api: TestClient) -> None:
    """Three empty lists."""
    for what in ("images", "containers", "classes"):
        assert listed(api, what) == []


def test_an_image_is_shown_over_all_machines(api: TestClient, store: OrderStore) -> None:
    """It is `uploaded` where one machine has it; who defined it and when comes from there."""
    store.announce_programs("gpu-a", HostedPrograms(images=(ABSENT,), containers=(CONTAINER,)))
    (image,) = listed(api, "images")
    assert (image["status"], image["created_by"], image["created_at"]) == (
        "created",
        "config.json",
        None,
    )
    store.announce_programs("gpu-b", HostedPrograms(images=(HERE,)))
    (image,) = listed(api, "images")
    assert {key: image[key] for key in ("name", "image", "status", "digest", "containers")} == {
        "name": "Mitosis 3",
        "image": IMAGE,
        "status": "uploaded",
        "digest": DIGEST,
        "containers": ["mitosis"],
    }
    assert image["created_by"] == "anna"
    assert image["created_at"] == "2023-11-14T22:13:20.000Z"
    assert {one["machine"]: one["status"] for one in image["machines"]} == {
        "gpu-a": "created",
        "gpu-b": "uploaded",
    }


def test_why_an_image_is_not_there_is_shown(api: TestClient, store: OrderStore) -> None:
    """A pull that failed, in the words of the engine."""
    failed = HERE.model_copy(
        update={"status": "failed", "failure": "podman pull: no route to host", "digest": ""}
    )
    store.announce_programs("gpu-a", HostedPrograms(images=(failed,)))
    (image,) = listed(api, "images")
    assert (image["status"], image["digest"]) == ("failed", None)
    assert image["failure"] == "podman pull: no route to host"


def test_an_image_that_was_removed_is_gone(api: TestClient, store: OrderStore) -> None:
    """What a machine announces replaces what it announced before."""
    store.announce_programs("gpu-a", HostedPrograms(images=(HERE,)))
    store.announce_programs("gpu-a", HostedPrograms())
    assert listed(api, "images") == []


def test_a_container_is_shown_without_values(api: TestClient, store: OrderStore) -> None:
    """Image, class and names of its variables; available once a worker can run it."""
    store.announce_programs("gpu-a", HostedPrograms(containers=(CONTAINER,)))
    (container,) = listed(api, "containers")
    assert container.pop("reason") == "no worker has said yet whether it can run it"
    assert container == {
        "name": "mitosis",
        "kind": "container",
        "image": IMAGE,
        "class": "g4dn.xlarge",
        "queue": "g4dn",
        "time_limit_s": 5400.0,
        "variables": ["DOWNSAMPLE", "LICENSE_KEY"],
        "available": False,
        "links": {"algorithm": "/v1/algorithms/mitosis", "jobs": "/v1/jobs?algorithm=mitosis"},
    }
    reason = "worker.algorithms.mitosis: config: image: it is not on this machine"
    refused = Announcement((), (), {"mitosis": reason})
    store.present("gpu-1@gpu-a", ["g4dn"], refused)
    assert listed(api, "containers")[0]["reason"] == reason
    card = store.cards()["ki67"].model_copy(update={"name": "mitosis"})
    store.announce([card])
    store.present("gpu-1@gpu-a", ["g4dn"], Announcement((card,)))
    (container,) = listed(api, "containers")
    assert container["available"] is True
    assert "reason" not in container


def test_a_class_shows_its_workers_and_algorithms(api: TestClient, store: OrderStore) -> None:
    """Workers that wait on its queue, whatever the priority."""
    programs = HostedPrograms(containers=(CONTAINER,), classes=(CLASS,))
    store.announce_programs("gpu-a", programs)
    store.present("gpu-1@gpu-a", ["g4dn.urgent", "g4dn"])
    store.present("gpu-2@gpu-b", ["gpu"])
    assert listed(api, "classes") == [
        {
            "name": "g4dn.xlarge",
            "queue": "g4dn",
            "cpus": 4.0,
            "memory_bytes": 16 * 10**9,
            "gpus": 1,
            "workers": 1,
            "containers": ["mitosis"],
        }
    ]


def test_what_cannot_be_read_hides_nothing_else(api: TestClient, store: OrderStore) -> None:
    """One that is no JSON, of another shape, of a newer version; the damage goes with the next
    announcement."""
    records = store._client.records
    records.hset("sl:hosting", "broken", '{"at": ')
    records.hset("sl:hosting", "odd", "[1]")
    records.hset("sl:hosting", "empty", '{"at": 1}')
    newer = HostedPrograms(classes=(CLASS,)).model_dump_json().replace("{", '{"new": 1, ', 1)
    now_ms = store._now_ms()
    records.hset("sl:hosting", "newer", f'{{"at": {now_ms}, "programs": {newer}, "new": 1}}')
    assert [one["name"] for one in listed(api, "classes")] == ["g4dn.xlarge"]
    store.announce_programs("gpu-a", HostedPrograms())
    assert sorted(records.hkeys("sl:hosting")) == ["gpu-a", "newer"]


def test_a_machine_that_is_long_gone_is_forgotten(api: TestClient, store: OrderStore) -> None:
    """After a day; until then its images are shown with the time since it was seen."""
    store.announce_programs("gone", HostedPrograms(images=(HERE,)))
    records = store._client.records
    text = records.hget("sl:hosting", "gone")
    at = text.partition(",")[0].partition(": ")[2]
    records.hset("sl:hosting", "gone", text.replace(at, str(float(at) - 3_600_000)))
    (machine,) = listed(api, "images")[0]["machines"]
    assert machine["seen_s_ago"] == pytest.approx(3600, abs=60)
    records.hset("sl:hosting", "gone", text.replace(at, str(float(at) - 90_000_000)))
    assert listed(api, "images") == []
    store.announce_programs("gpu-a", HostedPrograms())
    assert records.hkeys("sl:hosting") == ["gpu-a"]


def test_a_silent_machine_does_not_make_an_image_available(
    api: TestClient, store: OrderStore
) -> None:
    """It has not said for minutes that it has the image, and another one says that it has not."""
    store.announce_programs("silent", HostedPrograms(images=(HERE,)))
    records = store._client.records
    text = records.hget("sl:hosting", "silent")
    at = text.partition(",")[0].partition(": ")[2]
    records.hset("sl:hosting", "silent", text.replace(at, str(float(at) - 3_600_000)))
    store.announce_programs("gpu-a", HostedPrograms(images=(ABSENT,)))
    assert listed(api, "images")[0]["status"] == "created"


@pytest.mark.parametrize("what", ["images", "containers", "classes", "jobs"])
def test_reading_needs_a_key_where_there_are_keys(keyed: TestClient, what: str) -> None:
    """The scope `read`; `order` may read, too. Nothing can be changed over HTTP."""
    assert keyed.get(f"/v1/{what}").status_code == 401
    headers = {"authorization": "Bearer read-key-2"}
    assert keyed.get(f"/v1/{what}", headers=headers).status_code == 200
    headers = {"authorization": "Bearer admin-key-3"}
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert keyed.request(method, f"/v1/{what}", headers=headers).status_code == 405
