"""docs/connect-camicroscope-2.md: its settings and its commands, from a job to a zip at the loader."""

import io
import json
import shutil
import signal
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from broker.settings.config import Config
from tests.support.pages import blocks, read
from tests.support.stack import Stack, free_port, wait_for
from tests.support.walks import run_walk, walk_folder

PAGE = read("docs/connect-camicroscope-2.md")
SETTINGS = [json.loads(block) for block in blocks(PAGE, "json")]
COMMANDS = "\n".join(blocks(PAGE, "sh"))
SERVED_AT = "localhost:8000"
LOADER_AT = "8084"
SLIDES_AT = "8085"


EXECUTION = "seg:r1:w0.8:l3:u10:k20:j0"


@dataclass(frozen=True)
class Opened:
    """The service with the settings of the page: ports of the stand-ins, and the environment."""

    loader: int
    slides: int
    settings: dict[str, str]


@pytest.fixture(scope="module")
def opened(running: Stack) -> Iterator[Opened]:
    """API and courier have the settings of the page, and publish events."""
    loader = free_port()
    slides = free_port()
    text = json.dumps(SETTINGS[1]).replace(LOADER_AT, str(loader)).replace(SLIDES_AT, str(slides))
    settings = json.loads(text)
    given = {
        "SLIDELANE_SERVICES__DESTINATIONS": json.dumps(settings["services"]["destinations"]),
        "SLIDELANE_SERVICES__KUE": json.dumps(settings["services"]["kue"]),
        "SLIDELANE_SERVICES__KUE__PUBLISH_EVENTS": "true",
        "SLIDELANE_WORKER__LOCATOR": json.dumps(settings["worker"]["locator"]),
    }
    for role in ("api", "courier"):
        running.kill(role, signal.SIGTERM)
        running.start(role, **given)
    running.wait_ready()
    yield Opened(loader, slides, given)
    for role in ("api", "courier"):
        running.kill(role, signal.SIGTERM)
        running.start(role)
    running.wait_ready()


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    """A working folder as `make serve` leaves it: a Python in `.venv`, a sample slide in `data`."""
    return walk_folder(slide, tmp_path)


class Listener:
    """A listener at the Redis of the service, as DynamicServices was one at Kue's."""

    def __init__(self, data: Path) -> None:
        url = (data / "redis" / "url").read_text()
        self._redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self._channel = self._redis.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe("q:events")
        self._channel.get_message(timeout=5)
        self._events: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.close()

    def heard(self, last: str) -> list[str]:
        """Return the events up to this one, without progress."""

        def is_heard() -> bool:
            message = self._channel.get_message(timeout=0.1)
            if message:
                self._events.append(json.loads(message["data"])["event"])
            return last in self._events

        wait_for(is_heard, what=f"the event {last}")
        return [event for event in self._events if event != "progress"]


def analysis_ids(payload: bytes) -> set[str]:
    """Return the ids of the analyses in the zip that a form holds."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        metadata = [name for name in archive.namelist() if name.endswith("algmeta.json")]
        return {json.loads(archive.read(name))["analysis_id"] for name in metadata}


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_settings_of_the_page_can_work(settings: dict[str, Any]) -> None:
    """Both are accepted as they stand."""
    assert Config(**settings).services.kue.types


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the page use curl")
def test_a_job_becomes_a_zip_at_the_loader(running: Stack, opened: Opened, folder: Path) -> None:
    """A shell runs the commands of the page; only ports are changed. The job is complete when the
    loader has the zip, and the order is seen both ways."""
    assert COMMANDS.count(SERVED_AT) == 2
    commands = (
        COMMANDS.replace(SERVED_AT, running.url.removeprefix("http://"))
        .replace(LOADER_AT, str(opened.loader))
        .replace(SLIDES_AT, str(opened.slides))
    )
    with Listener(running.data) as listener:
        run_walk(commands, folder)
        assert listener.heard("complete") == ["enqueue", "start", "complete"]
    job = json.loads((folder / "data" / "job.json").read_text())
    assert job["state"] == "complete", job
    order = running.get(job["result"]["order"])
    assert (order["state"], order["created_by"]) == ("delivered", "kue"), order
    assert (order["labels"]["kue"], order["labels"]["case"]) == (job["id"], "CMU1")
    assert order["scans"][0]["roi"] == {"x": 600, "y": 500, "width": 900, "height": 800}
    (entry,) = json.loads((folder / "data" / "ledger.json").read_text())
    assert entry["note"]["case"] == "CMU1"
    payload = running.call("GET", f"/v1/orders/{order['id']}/payload")[1]
    assert analysis_ids(payload) == {EXECUTION}


def test_events_of_a_killed_courier_are_published_by_the_next(
    running: Stack, opened: Opened
) -> None:
    """They wait in the record meanwhile. The case is in no table, so that the job fails at once."""
    running.kill("courier")
    job = {"type": "analysisJob", "data": {"order": {"image": {"case_id": "of nobody"}}}}
    status, created = running.call("POST", "/kue/job", job)
    assert (status, created["message"]) == (200, "job created")
    with Listener(running.data) as listener:
        running.start("courier", **opened.settings)
        assert listener.heard("failed") == ["enqueue", "start", "error", "failed"]
    ended = running.call("GET", f"/kue/job/{created['id']}")[1]
    assert ended["error"].startswith("input_not_found: ")
