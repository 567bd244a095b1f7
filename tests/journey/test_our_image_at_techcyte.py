"""docs/our-image-at-techcyte.md as somebody follows it, and a hosted scan that goes wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.bucket import FileBucket
from demo.faults import Fault
from demo.techcyte import CASE, RESULTS, TechcyteReceiver
from tests.support.command_line import begin, clean_environment, slidelane
from tests.support.pages import blocks, read
from tests.support.paths import ROOT
from tests.support.stack import free_port, wait_for

PAGE = read("docs/our-image-at-techcyte.md")
COMMANDS = "\n".join(blocks(PAGE, "sh"))
STANDS_IN_AT = "8082"
BUCKET_AT = "8083"


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    """A working folder with our programs in `.venv` and a sample slide in `data`."""
    sample = tmp_path / "data" / "sample" / "sample.svs"
    sample.parent.mkdir(parents=True)
    shutil.copy(slide, sample)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, module in {"python": "", "slidelane": "-m slidelane "}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {module}"$@"\n')
        program.chmod(0o755)
    return tmp_path


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver({"185714": {"8946136"}}) as receiver:
        yield receiver


def variables(lab: TechcyteReceiver, bucket: FileBucket, **changed: str) -> dict[str, str]:
    """Return what Techcyte would set for a scan whose region is small."""
    return {
        "SCAN_URL": bucket.signed_url,
        "HOST": lab.url,
        "TASK_ID": "185714",
        "SCAN_ID": "8946136",
        "JWT_TOKEN": lab.jwt_token,
        "ALGORITHM": "grid",
        "SLIDELANE_BROKER__ALLOW_HOSTS": '["127.0.0.1"]',
    } | changed


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the page use curl")
def test_the_page_posts_once_and_prints_the_results(folder: Path) -> None:
    """A shell runs the commands of the page; only ports are changed."""
    commands = COMMANDS.replace(STANDS_IN_AT, str(free_port())).replace(BUCKET_AT, str(free_port()))
    shell = subprocess.Popen(
        ["bash", "-eu", "-c", commands],
        cwd=folder,
        env=clean_environment(SLIDELANE_WORKER__DEVICE="cpu"),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert shell.wait(timeout=170) == 0
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
    data = folder / "data"
    (entry,) = json.loads((data / "ledger.json").read_text())
    assert (entry["note"]["task"], entry["note"]["scans"]) == ("185714", ["8946136"])
    first = (data / "first.log").read_text()
    assert "posted, answered 201" in first
    results = json.loads(first.rpartition("Results JSON: ")[2])
    assert results["parameters"]["positive_threshold"] == 0.2
    assert "\nwarning" not in first
    second = (data / "second.log").read_text()
    assert "the task has these results already" in second
    token = json.loads((data / "techcyte.json").read_text())["jwt_token"]
    for secret in (token, "5160ed", "de6u9"):
        assert secret not in first + second
    assert (data / "hosted" / "result.png").stat().st_size > 1000
    assert (data / "hosted" / "results.json").is_file()
    assert "Results JSON: " in (data / "dev.log").read_text()


def test_results_that_are_refused_are_printed_and_the_status_says_so(
    lab: TechcyteReceiver, bucket: FileBucket
) -> None:
    """Whatever a supervisor sees of the container says the truth; the debug file is uploaded."""
    lab.faults.add(Fault(on=f"POST {RESULTS}", status=400))
    done = slidelane("hosted", **variables(lab, bucket, DEBUG_FILE_UPLOAD_URL=lab.debug_url()))
    assert done.returncode == 1, done.stderr
    assert "slidelane hosted: destination_refused: answered 400" in done.stderr
    posted = json.loads(done.stdout.rpartition("Results JSON (not posted): ")[2])
    assert posted["scanResults"][0]["scanId"] == "8946136"
    assert lab.changes == ["debug debug.zip"]


def test_a_container_that_is_killed_after_its_post_is_finished_by_the_next(
    lab: TechcyteReceiver, bucket: FileBucket, tmp_path: Path
) -> None:
    """The second one finds the results, posts nothing, and sets the triage."""
    lab.faults.add(Fault(on=f"PATCH {CASE}", slow_s=3600))
    env = variables(lab, bucket, TRIAGE='{"category": "High"}', TMPDIR=str(tmp_path))
    process = begin("hosted", **env)
    wait_for(lambda: lab.ledger and not len(lab.faults), what="the request for the triage")
    process.kill()
    process.communicate(timeout=60)
    done = slidelane("hosted", **env)
    assert done.returncode == 0, done.stderr
    assert "the task has these results already" in done.stdout
    assert (len(lab.ledger), lab.triage) == (1, {"185714": {"triage_category": "High"}})


def test_a_variable_that_is_missing_is_named(lab: TechcyteReceiver, bucket: FileBucket) -> None:
    """Status 2, before anything is fetched."""
    done = slidelane("hosted", **variables(lab, bucket, SCAN_ID=""))
    assert done.returncode == 2
    assert "variables are missing: SCAN_ID" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("env", "started"),
    [
        ({"TASK_ID": "185714"}, "slidelane hosted"),
        ({"DEV": "1"}, "slidelane hosted"),
        ({}, "python -m worker gpu"),
    ],
    ids=["a task", "DEV=1", "nothing"],
)
def test_the_image_starts_what_its_variables_say(
    tmp_path: Path, env: dict[str, str], started: str
) -> None:
    """At Techcyte nobody gives a command."""
    (line,) = [
        one for one in (ROOT / "Dockerfile.worker").read_text().splitlines() if one[:4] == "CMD "
    ]
    for name in ("slidelane", "python"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    done = subprocess.run(
        json.loads(line.removeprefix("CMD ")),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"} | env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == started
