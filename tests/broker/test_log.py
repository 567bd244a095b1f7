"""Log lines, written by real processes: text for people, JSON for programs, no secrets."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.log import _FIELDS
from tests.support.pages import read, section, table
from tests.support.paths import ROOT

ABOUT = '{"work": "o1.0", "stage": "classify", "code": "stalled"}'


def lines(form: str, code: str) -> list[str]:
    """What a process writes that sets its log up and then runs `code`."""
    code = f"import logging\nfrom broker.log import set_up\nset_up({form!r})\nlog = logging.getLogger('worker.x')\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stderr.splitlines()


def objects(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines("json", code)]


def test_a_line_of_json_names_what_it_is_about() -> None:
    """Time, level, logger and message always; the work, its stage and a code where they are
    given."""
    (line,) = objects(f"log.error('given up: %s', 'no progress', extra={ABOUT})")
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "error",
        "logger": "worker.x",
        "message": "given up: no progress",
        "work": "o1.0",
        "stage": "classify",
        "code": "stalled",
    }


def test_a_line_of_text_can_be_searched_by_its_code() -> None:
    """`grep code=stalled` finds what ran into its limit."""
    (line,) = lines("text", f"log.error('given up', extra={ABOUT})")
    assert line.endswith("error    worker.x: given up work=o1.0 stage=classify code=stalled")


@pytest.mark.parametrize(
    "fault",
    [
        "try:\n    1 / 0\nexcept ArithmeticError:\n    log.exception('it broke')",
        "1 / 0",
        "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()",
    ],
    ids=["logged", "caught by nobody", "in a thread"],
)
def test_an_exception_is_one_object_with_its_trace(fault: str) -> None:
    """Also when it was not caught: no line of the stream is anything else than JSON."""
    (line,) = objects(fault)
    assert "ZeroDivisionError: division by zero" in line["trace"]
    assert line["trace"].startswith("Traceback")


def test_a_warning_is_a_line_like_any_other() -> None:
    """Libraries warn past the log, to stderr."""
    (line,) = objects("import warnings\nwarnings.warn('old', DeprecationWarning, stacklevel=1)")
    assert line["logger"] == "py.warnings"


@pytest.mark.parametrize(
    "first", ["", "from billiard.util import get_logger\nget_logger()\n"], ids=["late", "early"]
)
def test_what_the_pool_says_of_its_children_is_a_line_once(first: str) -> None:
    """Billiard cuts its logger off from all others, whenever it is first used."""
    shown = (
        first
        + "set_up('json')\nfrom billiard.util import get_logger\nget_logger().error('it exited with SIGKILL')"
    )
    (line,) = objects(shown)
    assert line["message"] == "it exited with SIGKILL"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "text",
    [
        "GET https://b.example/slide.svs?X-Amz-Signature=SECRET&x=1 failed",
        "HTTPSConnectionPool: Max retries exceeded with url: /slide.svs?sig=SECRET (Caused by x)",
        "cannot connect to redis://:SECRET@10.0.0.1:6379/0",
        "GET https://b.example/a;jsessionid=SECRET/slide.svs failed",
        "sent Authorization: Bearer SECRET123456",
        "the token eyJhbGciOiJI.SECRETpayload.SECRETsignature was refused",
        "the token EYJHBGCIOIJI.SECRETPAYLOAD.SECRETSIGNATURE was refused",
        "the destination answered ZXlKaGJHY2lPaUpJVXpJMU5pSSECRET=",
        "cannot log in as lab:SECRET@db.example",
        "Authorization%3A%20Basic%20bGFiOlNFQ1SECRET",
        'answered {"jwt_token": "SECRET12"}, password=\'SECRET\' and API_KEY=SECRET',
    ],
)
def test_a_secret_that_somebody_logs_is_not_written(form: str, text: str) -> None:
    """Neither from a message nor from an exception in a trace, whichever library wrote it."""
    code = f"text = {text!r}\nlog.error('%s', text)\n"
    code += "try:\n    raise OSError(text)\nexcept OSError:\n    log.exception('x')"
    shown = "\n".join(lines(form, code))
    assert "OSError" in shown
    assert "SECRET" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "what is it? a=b, https://a.example/x is fine",
        "no token for the API key: answered 500; courier-7@host at 10:30, work=a.0",
        "broker.secret_key: not a Fernet key; worker.limits.stall_s=5",
    ],
)
def test_a_message_without_secrets_stays_whole(text: str) -> None:
    """A question mark alone makes no query, and the name of a secret is none."""
    (line,) = objects(f"log.info({text!r})")
    assert line["message"] == text


def test_a_hostile_text_makes_no_line_of_its_own() -> None:
    """Line breaks in what a file or a server shown cannot forge an entry."""
    forged = "odd\n2026-01-01T00:00:00 error worker.x: forged\r\x1b[2K"
    (line,) = lines("text", f"log.error('%s', {forged!r})")
    assert "odd\\n2026" in line
    shown = lines(
        "text",
        f"try:\n    raise ValueError({forged!r})\nexcept ValueError:\n    log.exception('x')",
    )
    assert [one for one in shown[1:] if not one.startswith("    ")] == []


@pytest.mark.parametrize("role", ["gpu", "courier"])
def test_every_line_of_a_worker_is_json(redis_url: str, tmp_path: Path, role: str) -> None:
    """From its first to its last, with no banner of Celery between them."""
    given = {"REDIS_URL": redis_url, "DATA": str(tmp_path), "LOG": "json"}
    shown = a_process(["worker", role], given, until=" consumes ")
    assert {json.loads(line)["logger"].partition(".")[0] for line in shown} == {"worker"}


def test_every_line_of_the_api_is_json(redis_url: str, tmp_path: Path) -> None:
    """Also where it listens."""
    given = {"REDIS_URL": redis_url, "DATA": str(tmp_path), "LOG": "json"}
    shown = a_process(["services"], given, until="listens on")
    assert {json.loads(line)["logger"].partition(".")[0] for line in shown} == {"services"}


def a_process(module: list[str], broker: dict[str, str], until: str) -> list[str]:
    """All that a process writes, on both streams, from its start until it was stopped, when it had
    written `until`."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")
    }
    environment |= {f"SLIDELANE_BROKER__{name}": value for name, value in broker.items()}
    environment |= {"SLIDELANE_SERVICES__PORT": "0"}
    command = [sys.executable, "-m", *module]
    shown: list[str] = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            shown.append(line)
            if until in line:
                process.terminate()
    assert any(until in line for line in shown), shown
    return shown


def test_every_field_of_a_line_is_documented() -> None:
    """The table of docs/operations.md, in the order in which a line has them."""
    about = dict.fromkeys(_FIELDS, "x")
    (line,) = objects(
        f"try:\n    1 / 0\nexcept ArithmeticError:\n    log.exception('x', extra={about})"
    )
    assert list(table(section(read("docs/operations.md"), "Logs"))) == list(line)


OUTAGE = {
    "ours": "log.warning('the scheduler waits', extra={'code': 'store_unreachable'})",
    "Celery's": "logging.getLogger('celery.worker').error('Cannot connect: %s', ConnectionError())",
    "a traceback": (
        "try:\n    raise TimeoutError\nexcept TimeoutError:\n"
        "    logging.getLogger('kombu.x').exception('it broke')"
    ),
}


@pytest.mark.parametrize("notice", OUTAGE.values(), ids=OUTAGE)
def test_an_outage_of_redis_is_told_once_a_minute_by_whoever_tells_it(notice: str) -> None:
    """And its end once; every other line passes."""
    back = "from broker.log import REDIS_IS_BACK\nlog.info(REDIS_IS_BACK)"
    other = "log.warning('a slide is damaged', extra={'code': 'slide_unreadable'})"
    everybody = "\n".join(OUTAGE.values())
    written = objects("\n".join([notice, everybody, everybody, other, back, back, everybody, back]))
    assert [line["message"].partition(" (")[0] for line in written[1:]] == [
        "a slide is damaged",
        "Redis answers again",
    ]
    assert written[0]["message"].endswith("one such line a minute is written)")
    assert "trace" not in written[0]


def test_a_connection_of_somebody_else_is_no_outage_of_redis() -> None:
    """A receiver that hangs up is told each time."""
    assert len(objects("log.warning('lost: %s', ConnectionError())\n" * 3)) == 3


def test_a_log_on_a_full_disk_stops_no_process() -> None:
    """The lines are lost, and the work goes on."""
    code = (
        "import logging\nfrom broker.log import set_up\nset_up('text')\n"
        "for _ in range(2000):\n    logging.getLogger('x').error('a line that is lost')\n"
        "print('done')"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert (done.returncode, done.stdout) == (0, b"done\n")
