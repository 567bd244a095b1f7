"""Programs that ask no proxy reach us by the name of Techcyte, where they have files of their own."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.plain_isolation import scripts
from tests.support.program_runs import SLIDE_BYTES, python, run
from tests.worker.programs.test_program_clients import TEMPLATE, summary
from worker.programs.interface import Isolation
from worker.programs.isolations import isolation_for

NODE = shutil.which("node")


@pytest.fixture
def isolation() -> Isolation:
    """What runs commands on this machine, if it gives them files of their own."""
    found = isolation_for("", "")
    if not found.shows_mounts:
        lost = [grant.lost for grant in found.granted() if not grant.is_granted]
        pytest.skip(f"no mount namespace: {'; '.join(lost)}")
    return found


@pytest.mark.parametrize("library", ["aiohttp", "requests", "urllib", "httpx"])
def test_a_python_program_reaches_us_by_name(
    tmp_path: Path, isolation: Isolation, library: str
) -> None:
    """aiohttp asks no proxy; the others do, and work as well."""
    command = (sys.executable, str(scripts() / "client.py"), library)
    outcome = run(command, tmp_path, isolation)
    assert outcome.exit_code == 0, outcome.output.read_text()
    assert summary(outcome) == f"{SLIDE_BYTES} bytes"


@pytest.mark.skipif(NODE is None, reason="there is no Node here")
def test_node_reaches_us_by_name(tmp_path: Path, isolation: Isolation) -> None:
    """Node's own fetch asks no proxy before version 24."""
    outcome = run((str(NODE), str(scripts() / "client.mjs")), tmp_path, isolation)
    assert outcome.exit_code == 0, outcome.output.read_text()
    assert summary(outcome) == f"{SLIDE_BYTES} bytes"


def test_the_templates_fixed_path_is_the_runs_own(tmp_path: Path, isolation: Isolation) -> None:
    """It writes /tmp/downloaded_image.svs: two runs do not meet there, and nothing stays."""
    outcome = run(TEMPLATE, tmp_path, isolation)
    assert outcome.received.posts == 1, outcome.output.read_text()
    assert not Path("/tmp/downloaded_image.svs").exists()


def test_a_client_that_pins_its_own_certificates_trusts_us(
    tmp_path: Path, isolation: Isolation
) -> None:
    """The bundle of the run lies over the file that it names."""
    code = """
        import certifi, os, requests
        scan = {"scanId": os.environ["SCAN_ID"]}
        url = f"https://api.{os.environ['HOST']}/api/v3/external/results/{os.environ['TASK_ID']}"
        headers = {"Authorization": f"Bearer {os.environ['JWT_TOKEN']}"}
        body = {"scanResults": [scan]}
        requests.post(url, json=body, headers=headers, verify=certifi.where()).raise_for_status()
    """
    outcome = run(python(code), tmp_path, isolation)
    assert outcome.received.posts == 1, outcome.output.read_text()
