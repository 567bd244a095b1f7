"""An image as an algorithm, with a small engine of the tests: from the settings to the result."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.paths import ROOT
from tests.support.program_scans import NAME, run
from tests.support.python_scans import dotted, results
from worker.algorithms import registry
from worker.algorithms.programs.algorithm import ProgramAlgorithm
from worker.programs import isolations

IMAGE = "own-image"
# The engine shows no files, so there is no certificate to trust.
CODE = """
import json, os, ssl, urllib.request
size = len(urllib.request.urlopen(os.environ["SCAN_URL"]).read())
scan = {"scanId": os.environ["SCAN_ID"], "results": {"summary": f"{size} {os.environ['MODEL']}"}}
url = f"https://api.{os.environ['HOST']}/api/v3/external/results/{os.environ['TASK_ID']}"
headers = {"Authorization": f"Bearer {os.environ['JWT_TOKEN']}"}
request = urllib.request.Request(url, json.dumps({"scanResults": [scan]}).encode(), headers)
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
print("status", urllib.request.urlopen(request, context=context).status)
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the small engine, which is called podman, with one image."""
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / f"{IMAGE}.json").write_text(json.dumps([sys.executable, "-c", CODE]))
    shutil.copy(ROOT / "tests" / "support" / "small_engine.py", folder / "podman")
    (folder / "podman").chmod(0o755)
    monkeypatch.setenv("SMALL_ENGINE", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    isolations._of_engine.cache_clear()
    yield folder
    isolations._of_engine.cache_clear()


def loaded(image: str = IMAGE) -> ProgramAlgorithm:
    """The algorithm of an image, as a scan has it."""
    entry = {"kind": "container", "image": image, "engine": "podman", "env": {"MODEL": "mitosis"}}
    settings = {NAME: AlgorithmSettings.model_validate(entry)}
    algorithm = registry.load(NAME, settings, {}, "cpu", max_batch_bytes=2**20)
    assert isinstance(algorithm, ProgramAlgorithm)
    return algorithm


def test_an_image_posts_its_results(engine: Path, tmp_path: Path) -> None:
    """Fetched, posted and shown as of a command; the result names the digest of the image."""
    slide = dotted(tmp_path)
    folder = run(loaded(), slide, tmp_path)
    found = results(folder)
    assert found["headline"] == f"{slide.stat().st_size} mitosis"
    assert found["algorithm"]["digest"] == "1" * 64
    assert (folder / "output.log").read_text() == "status 201\n"


def test_an_image_that_is_not_here_is_a_reason(engine: Path) -> None:
    """The command that fetches it is in it; the engine that does not answer is one, too."""
    with pytest.raises(ConfigError, match="podman has no image absent on this machine; fetch it"):
        loaded("absent")
    (engine / "unreachable").touch()
    with pytest.raises(ConfigError, match="Cannot connect to the engine"):
        loaded()
    assert registry.needs_check(AlgorithmSettings(kind="container", image=IMAGE))
