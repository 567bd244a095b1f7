"""`slidelane doctor` tells what is there and what is not, and its status says whether a worker
could work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.settings.config import Config
from demo.techcyte import TechcyteReceiver
from slidelane.process import lines_of
from tests.support.stack import ROOT, Stack, free_port
from worker.diagnostics.connectivity import check_hosts
from worker.slides.sandbox.confinement.confine import granted_confinement

Table = dict[str, tuple[str, str]]
_COMMAND = [sys.executable, "-m", "slidelane.cli", "doctor"]
_WITHOUT_WORKER = "import sys; sys.modules['worker'] = None; sys.argv[1:] = ['doctor']; from slidelane.cli import main; main()"


def doctor(*asked: str, command: list[str] = _COMMAND, **settings: str) -> tuple[int, Table, str]:
    """Its status, its rows as (state, sentence), and all that it printed."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")
    }
    # Whatever runs on the usual port of this machine is none of the test's services.
    env = inherited | {"SLIDELANE_SERVICES__PORT": str(free_port())} | settings
    done = subprocess.run(
        [*command, *asked], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    rows = [
        (line[:12].strip(), line[13:20].strip(), line[21:]) for line in done.stdout.splitlines()
    ]
    return (
        done.returncode,
        {what: (state, said) for what, state, said in rows},
        done.stdout + done.stderr,
    )


def on(stack: Stack, *asked: str, **more: str) -> tuple[int, Table, str]:
    own = {name: value for name, value in stack.env.items() if name.startswith("SLIDELANE_")}
    return doctor(*asked, **(own | more))


def test_a_service_that_runs_is_well(stack: Stack, techcyte: TechcyteReceiver) -> None:
    """Redis, workers, disk, a slide really read, models really loaded, a destination that answers;
    status 0."""
    status, rows, _ = on(stack, "--destination", techcyte.url)
    assert status == 0, rows
    of_machine = ("gpu", "decoder", "programs", "engine")
    assert [what for what, (state, _) in rows.items() if state == "ok" and what not in of_machine] == [
        "service", "redis", "workers", "disk", "uploads", "models", "slides",
        "cores", "memory", "openslide", "destination",
    ]  # fmt: skip
    assert "append-only file, answers in" in rows["redis"][1]
    assert "on fetch" in rows["workers"][1] or "on deliver" in rows["workers"][1]
    assert "1000x1000 matmul in" in rows["gpu"][1]
    assert rows["openslide"][1].startswith("OpenSlide 4.")
    assert str(granted_confinement()) in rows["decoder"][1]
    assert (rows["decoder"][0] == "ok") == granted_confinement().is_complete
    assert rows["programs"][1].startswith("commands: isolated in ")
    assert "grid 1.0.0, ki67 1.0.0" in rows["models"][1]
    assert f"broker.data {stack.data}" in rows["service"][1]


def test_a_service_that_runs_is_asked_for_its_own_settings(stack: Stack, slide: Path) -> None:
    """What this shell would start, with a device and folders that are not there, is not the
    question."""
    status, rows, _ = on(
        stack,
        SLIDELANE_WORKER__DEVICE="cuda:99",
        SLIDELANE_WORKER__SLIDES__ROOTS='["/nowhere"]',
        SLIDELANE_WORKER__ALGORITHMS='{"x": {"kind": "wrong"}}',
    )
    assert status == 0, rows
    assert rows["gpu"][0] in ("ok", "absent")
    assert rows["slides"] == ("ok", f"paths may lie below {slide.parent}")
    assert "x" not in rows["models"][1].split()


def test_a_service_on_another_data_folder_is_asked_over_http(stack: Stack, tmp_path: Path) -> None:
    """Its port is the one of this shell's settings; what is not known without its folder is said."""
    status, rows, _ = doctor(
        SLIDELANE_SERVICES__PORT=str(stack.port), SLIDELANE_BROKER__DATA=str(tmp_path)
    )
    assert status == 0, rows
    assert f"asked {stack.url}; it does not use broker.data {tmp_path}" in rows["service"][1]
    assert rows["ready"][0] == "ok"
    assert "disk" not in rows


def test_a_folder_of_slides_that_is_not_there_is_said_of_the_service(
    tmp_path: Path, slide: Path
) -> None:
    """By doctor, and by worker and courier when they start."""
    with Stack(tmp_path, [slide.parent, tmp_path / "gone"]) as stack:
        stack.wait_ready()
        status, rows, _ = on(stack)
        assert (status, rows["slides"][0]) == (1, "failed")
        assert f"there is no {tmp_path}/gone on courier-" in rows["slides"][1]
        for role in ("worker", "courier"):
            said = (tmp_path / f"{role}.log").read_text()
            assert f"worker.slides.roots: there is no folder {tmp_path}/gone" in said


def test_what_a_worker_lacks_is_named_and_ends_with_one(tmp_path: Path) -> None:
    """A Redis, a folder and a device that are not there, each with its setting; the password is not
    shown."""
    (tmp_path / "file").touch()
    status, rows, shown = doctor(
        SLIDELANE_BROKER__REDIS_URL=f"redis://:hidden@127.0.0.1:{free_port()}/0",
        SLIDELANE_BROKER__DATA=str(tmp_path / "file"),
        SLIDELANE_WORKER__DEVICE="cuda:99",
        SLIDELANE_WORKER__SLIDES__ROOTS='["/nowhere"]',
    )
    assert status == 1
    assert {what for what, (state, _) in rows.items() if state == "failed"} == {
        "redis",
        "disk",
        "uploads",
        "gpu",
        "models",
        "slides",
    }
    for what, named in (("redis", "broker.redis_url"), ("disk", "broker.data"), ("gpu", "cuda:99")):
        assert named in rows[what][1]
    assert "hidden" not in shown


def test_our_own_redis_that_nobody_started_is_missing(tmp_path: Path) -> None:
    """A worker would not start; how one starts it, and with what, is said."""
    status, rows, _ = doctor(SLIDELANE_BROKER__DATA=str(tmp_path))
    assert status == 1
    assert rows["redis"][0] == "failed"
    assert "make serve" in rows["redis"][1]
    assert "-server to start" in rows["redis"][1]
    assert [what for what, (state, _) in rows.items() if state == "failed"] == ["redis"]


def test_without_the_workers_libraries_the_rest_is_told(stack: Stack) -> None:
    """As in the image of the API, which holds no torch and no OpenSlide."""
    own = {name: value for name, value in stack.env.items() if name.startswith("SLIDELANE_")}
    status, rows, _ = doctor(command=[sys.executable, "-c", _WITHOUT_WORKER], **own)
    assert (status, rows["libraries"][0]) == (0, "absent")
    assert set(rows) == {
        "service", "redis", "workers", "disk", "uploads", "models", "slides", "libraries",
        "viewer",
    }  # fmt: skip


def test_settings_that_cannot_work_are_told_before_all_else() -> None:
    """No table could be trusted."""
    status, rows, shown = doctor(SLIDELANE_WORKER__DEVICE="gpu")
    assert (status, rows) == (1, {})
    assert "worker.device" in shown


def test_a_container_is_tried_out_for_real(tmp_path: Path) -> None:
    """Settings arrive, a family of processes is ended by its time limit, a worker that is told to
    stop leaves."""
    asked = ["--in-container"]
    status, rows, shown = doctor(
        *asked, SLIDELANE_BROKER__DATA=str(tmp_path), SLIDELANE_WORKER__THREADS="2"
    )
    assert status == 0, shown
    assert [rows[what][0] for what in ("environment", "time limit", "spawn", "drain")] == ["ok"] * 4
    assert "SLIDELANE_WORKER__THREADS" in rows["environment"][1]
    assert "with [0, 0]" in rows["drain"][1]
    assert rows["redis"][0] == "absent"


_ADOPTS_AND_REAPS_NOBODY = """
import ctypes
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER, as process 1 of a container is one
from slidelane import container_checks
container_checks._CLEAN_UP_S = 1.0  # nobody comes to reap them later
for row in container_checks.run_checks():
    print(row.state, row.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt")
def test_a_container_whose_first_process_reaps_nobody_fails() -> None:
    """Processes that were killed would stay in its table for ever."""
    code = [sys.executable, "-c", _ADOPTS_AND_REAPS_NOBODY]
    said = subprocess.run(
        code, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[0].startswith("ok")
    assert said[1].startswith("failed")
    assert "zombies" in said[1]


def test_a_gpu_that_is_required_and_absent_fails(tmp_path: Path) -> None:
    """So that a container which was started without one is noticed."""
    status, rows, _ = doctor(
        "--require-gpu", CUDA_VISIBLE_DEVICES="", SLIDELANE_BROKER__DATA=str(tmp_path)
    )
    assert (status, rows["gpu"][0]) == (1, "failed")
    assert rows["gpu"][1].startswith("none is seen")


def settings(*allow_hosts: str, **worker: object) -> Config:
    return Config.model_validate({"broker": {"allow_hosts": allow_hosts}, "worker": worker})


def test_a_destination_is_held_to_the_rules_of_orders(techcyte: TechcyteReceiver) -> None:
    """One inside must be listed; one that does not answer, or is none, says why; paths and queries
    are not shown."""
    asked = [
        f"{techcyte.url}/in?token=hidden",
        f"http://127.0.0.1:{free_port()}/",
        "http://no-such-host.invalid",
        "x",
    ]
    inside = list(check_hosts(settings("127.0.0.1"), asked))
    assert [row.state for row in inside] == ["ok", "failed", "failed", "failed"]
    assert f"{techcyte.url} (asked for) answers" in inside[0].message
    assert "no connection can be made" in inside[1].message
    assert "its name has no address" in inside[2].message
    assert "give the whole address" in inside[3].message
    (outside,) = check_hosts(settings(), asked[:1])
    assert outside.state == "failed"
    assert "broker.allow_hosts" in outside.message
    assert "hidden" not in str([*inside, outside])


def test_the_hosts_that_the_settings_name_are_tried(techcyte: TechcyteReceiver) -> None:
    """Of a locator that asks: its service and what it builds; of a table: each host once; else it
    says what to do."""
    source = {"type": "image_server", "url": f"{techcyte.url}{{location}}", "protocol": "iiif"}
    http = {
        "type": "http",
        "url": f"{techcyte.url}/q?id={{case_id}}",
        "location": "/0",
        "source": source,
    }
    (row,) = check_hosts(settings("127.0.0.1", locator=http), [])
    assert (row.state, "worker.locator" in row.message) == ("ok", True)
    whole = http | {"source": {"type": "url", "url": "{location}"}}
    (row,) = check_hosts(settings("127.0.0.1", locator=whole), [])
    assert "worker.locator.url" in row.message
    cases = {name: {"type": "url", "url": f"{techcyte.url}/{name}.svs"} for name in ("A1", "A2")}
    (row,) = check_hosts(settings("127.0.0.1", locator={"type": "map", "cases": cases}), [])
    assert row.state == "ok"
    (row,) = check_hosts(settings(), [])
    assert (row.state, "--destination" in row.message) == ("absent", True)


def test_the_hosts_of_named_destinations_are_tried(techcyte: TechcyteReceiver) -> None:
    """By their keys, without path and query; of Techcyte the host of its API."""
    loader = {"type": "annotation", "url": f"{techcyte.url}/up?token=hidden"}
    lab = {"type": "techcyte", "host": "no-such-host.invalid"}
    config = Config.model_validate(
        {
            "broker": {"allow_hosts": ["127.0.0.1"]},
            "services": {"destinations": {"loader": loader, "lab": lab}},
        }
    )
    first, second = check_hosts(config, [])
    assert (first.state, "services.destinations.loader.url" in first.message) == ("ok", True)
    assert "https://api.no-such-host.invalid" in second.message
    assert "hidden" not in first.message


def test_a_program_that_hangs_or_fails_is_told_apart() -> None:
    """By its time limit, or by its status and its last words."""
    with pytest.raises(TimeoutError, match=r"not done after 0\.5 s"):
        list(lines_of([sys.executable, "-c", "import threading; threading.Event().wait()"], 0.5))
    with pytest.raises(ChildProcessError, match="ended with 3: last words"):
        list(
            lines_of(
                [
                    sys.executable,
                    "-c",
                    "import sys; print('last words', file=sys.stderr); sys.exit(3)",
                ],
                60,
            )
        )
    assert list(lines_of([sys.executable, "-c", "print(1); print(2)"], 60)) == ["1\n", "2\n"]
