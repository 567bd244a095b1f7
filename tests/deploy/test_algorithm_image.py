"""Our worker on top of an algorithm's image: neither finds the other's code, or changes it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

OURS = ("/opt/slidelane", "/data", "/uploads", "/models", "/usr/local/bin/slidelane")
"""All that the image adds to its base, beside packages of Debian and a user."""


def stages() -> list[list[str]]:
    """Return the lines of each stage of the Dockerfile, comments left out."""
    text = (ROOT / "Dockerfile.worker").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    _, *parts = re.split(r"^FROM .*\n", text, flags=re.MULTILINE)
    return [part.split("\n") for part in parts]


def test_code_of_the_base_is_not_imported_in_place_of_ours(tmp_path: Path) -> None:
    """A program's image has a `worker.py` and a `broker.py` in the working folder, too."""
    for name in ("worker", "broker", "slidelane", "celery", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the base')")
    setting = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT)}
    (environment,) = (line for line in stages()[-1] if line.startswith("ENV "))
    assert "PYTHONSAFEPATH=1" in environment
    for module in (["worker", "--help"], ["slidelane.cli", "--version"]):
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=tmp_path,
            env=os.environ | setting,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_every_stage_is_built_as_root_with_the_base_s_python() -> None:
    """A base may end as another user, and may have no program called `python`."""
    for stage in stages():
        steps = [line.split(None, 1) for line in stage if line.strip()]
        names = [name for name, _ in steps]
        assert ("USER", "root") in [tuple(step) for step in steps]
        assert names.index("USER") < names.index("RUN")
    for stage in stages()[:2]:
        for line in stage:
            assert not re.search(r"(^RUN|&&)\s+python", line), line


def test_what_is_added_to_the_base_is_named() -> None:
    """Nothing of ours is copied into a folder that the base may have, and a folder that it has is
    no error."""
    last = stages()[-1]
    copied = [line.split()[-1] for line in last if line.startswith("COPY ")]
    assert copied
    assert all(target.startswith(OURS) for target in copied)
    made = " ".join(line for line in last if line.startswith("RUN "))
    assert not re.search(r"mkdir (?!-p)", made)
    folders = " ".join(re.findall(r"(?:mkdir -p|install -d)([^&]*)", made)).split()
    made_folders = [word for word in folders if word.startswith("/")]
    assert made_folders == ["/data", "/data/shelf", "/uploads", "/models"]
    libraries = stages()[0]
    assert any("venv --without-pip /opt/slidelane" in line for line in libraries)
    assert "--system-site-packages" not in "".join(libraries)


def test_the_page_names_what_is_added() -> None:
    """Who builds on an image of their own must know what to keep free."""
    page = (ROOT / "docs" / "models-in-deployments.md").read_text()
    section = page.partition("## Our worker in an algorithm's image")[2]
    for path in OURS:
        assert f"`{path}`" in section, path
