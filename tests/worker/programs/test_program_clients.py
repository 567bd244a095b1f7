"""Programs with the usual HTTP libraries fetch the slide and post results, unchanged."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from tests.support.plain_isolation import PlainIsolation, scripts
from tests.support.program_runs import IDENTITY, SLIDE_BYTES, TOKEN, Lines, Running, python, run
from worker.programs.run import ProgramOutcome
from worker.progress import StopWork

TEMPLATE = (sys.executable, str(scripts() / "template.py"))


def summary(outcome: ProgramOutcome) -> str:
    """The summary that was posted."""
    assert outcome.received.posted, outcome.output.read_text()
    posted = json.loads(outcome.received.posted.read_bytes())
    return str(posted["scanResults"][0]["results"]["summary"])


@pytest.mark.parametrize("library", ["requests", "urllib", "httpx"])
def test_a_python_program_is_led_to_us_by_its_environment(tmp_path: Path, library: str) -> None:
    """Proxy and certificate come by variables: nothing in the program knows of us."""
    outcome = run((sys.executable, str(scripts() / "client.py"), library), tmp_path)
    assert outcome.exit_code == 0, outcome.output.read_text()
    assert summary(outcome) == f"{SLIDE_BYTES} bytes"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_a_shell_script_with_curl_is_led_to_us(tmp_path: Path) -> None:
    """curl takes the same variables."""
    outcome = run(("sh", str(scripts() / "client.sh")), tmp_path)
    assert outcome.exit_code == 0, outcome.output.read_text()
    assert summary(outcome) == f"{SLIDE_BYTES} bytes"


def test_a_program_like_the_template_posts_its_workflow(tmp_path: Path) -> None:
    """What it posts is kept byte by byte, and what it prints is shown without the token."""
    lines = Lines()
    local = {"LOCAL_PATH": str(tmp_path / "image.svs")}
    outcome = run(TEMPLATE, tmp_path, log=lines, variables=local)
    assert outcome.exit_code == 0
    assert outcome.received.posted
    posted = json.loads(outcome.received.posted.read_bytes())
    assert posted["scanResults"][0]["workflow"]["provider"] == "Acme AI"
    assert posted["caseResults"] == {}
    assert lines.lines[-1] == "Success: 201"
    assert (tmp_path / "image.svs").stat().st_size == SLIDE_BYTES


def test_an_api_key_of_the_author_is_exchanged_for_the_token_of_the_run(tmp_path: Path) -> None:
    """The template prefers an API key to the token; ours is handed out for any."""
    own = {"API_KEY_ID": "lab", "API_KEY_SECRET": "secret-1", "LOCAL_PATH": str(tmp_path / "i")}
    outcome = run(TEMPLATE, tmp_path, variables=own)
    assert outcome.received.posts == 1, outcome.output.read_text()


def test_the_environment_is_techcytes_and_nothing_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of the worker, which may hold keys, are not handed on."""
    monkeypatch.setenv("SLIDELANE_BROKER__SECRET_KEY", "very-secret")
    isolation = PlainIsolation()
    run(python("pass"), tmp_path, isolation, variables={"DOWNSAMPLE": "10", "SCAN_ID": "other"})
    (started,) = isolation.runs
    environment = started.environment
    assert environment["HOST"] == "ci.techcyte.com"
    assert environment["TASK_ID"] == IDENTITY.task_id
    assert environment["SCAN_ID"] == IDENTITY.scan_id
    assert environment["JWT_TOKEN"] == TOKEN
    assert environment["DOWNSAMPLE"] == "10"
    assert environment["SCAN_URL"].endswith("/slide%20one.svs")
    assert environment["DEBUG_FILE_UPLOAD_URL"].startswith("http://127.0.0.1:")
    assert "SCAN_URL_ZIP" not in environment
    assert not any(name.startswith("SLIDELANE_") for name in environment)


def test_progress_that_a_program_prints_is_told_and_not_shown_as_a_line(tmp_path: Path) -> None:
    """`slidelane:progress 12/80` is how a program tells how far it is."""
    progress = Running()
    lines = Lines()
    code = """
        import time
        print("begin")
        print("slidelane:progress 12/80", flush=True)
        time.sleep(1.5)
        print("end")
    """
    run(python(code), tmp_path, progress=progress, log=lines)
    assert (12, 80) in progress.told
    assert lines.lines == ["begin", "end"]


def test_a_program_that_is_stopped_ends_at_once(tmp_path: Path) -> None:
    """A cancelled order frees its device within two seconds, though the program ignores SIGTERM."""
    code = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    """
    began_at = time.monotonic()
    with pytest.raises(StopWork):
        run(python(code), tmp_path, progress=Running(stop_after_s=0.5))
    assert time.monotonic() - began_at < 30


def test_lines_hold_no_secret(tmp_path: Path) -> None:
    """Neither the token nor a variable whose name says that it is secret is shown."""
    lines = Lines()
    code = """
        import os
        print("token", os.environ["JWT_TOKEN"])
        print("url", os.environ["SCAN_URL"])
        print("mine", os.environ["LICENSE_KEY"])
    """
    outcome = run(python(code), tmp_path, log=lines, variables={"LICENSE_KEY": "abcdef-123"})
    shown = " ".join(lines.lines)
    assert "token" in shown
    assert "mine" in shown
    assert TOKEN not in shown
    assert "abcdef-123" not in shown
    assert outcome.secrets >= {TOKEN, "abcdef-123"}


def test_many_lines_are_shown_from_the_beginning_and_the_end(tmp_path: Path) -> None:
    """The order's log is bounded; the whole output is in a file."""
    lines = Lines()
    outcome = run(python("for n in range(5000): print('line', n)"), tmp_path, log=lines)
    assert lines.lines[0] == "line 0"
    assert lines.lines[-1] == "line 4999"
    assert "4800 lines of the program are only in output.log" in lines.lines
    assert outcome.output.read_text().count("\n") == 5000


class _NoStart(PlainIsolation):
    def start(self, run: Any) -> Any:
        raise OrderError("algorithm_unavailable", "there is no such program")


def test_a_program_that_cannot_be_started_leaves_no_socket(tmp_path: Path) -> None:
    """The sockets of the receiver are closed although it never began."""
    with pytest.raises(OrderError, match="no such program"):
        run(("x",), tmp_path, _NoStart())
