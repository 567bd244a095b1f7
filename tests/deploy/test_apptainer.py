"""The definition of the Apptainer image, read as text: the tests do not need Apptainer."""

import re
import subprocess

from tests.support.kubernetes_objects import containers
from tests.support.kustomize import rendered
from tests.support.pages import ROOT
from tests.test_docs_settings import EXPECTED

TEXT = (ROOT / "deploy" / "apptainer" / "worker.def").read_text()
SCRIPTS = ("environment", "runscript", "test")


def sections() -> dict[str, str]:
    """Return the sections by name; the name of the header is empty."""
    header, *rest = re.split(r"^%(\w+)\n", TEXT, flags=re.MULTILINE)
    return {"": header} | dict(zip(rest[::2], rest[1::2], strict=True))


def test_it_is_made_of_the_image_that_kubernetes_runs() -> None:
    """Only its Dockerfile says what a worker image contains."""
    header = dict(
        line.split(": ") for line in sections()[""].splitlines() if line and line[0] != "#"
    )
    (worker,) = [
        container["image"]
        for container in containers(rendered("gpu"))
        if container["name"] == "worker"
    ]
    assert header == {"Bootstrap": "docker-daemon", "From": worker}


def test_its_scripts_are_shell_and_pass_arguments_on() -> None:
    """`slidelane` gets the arguments of `apptainer run` unchanged."""
    for name in SCRIPTS:
        subprocess.run(["sh", "-n"], input=sections()[name], text=True, check=True)
    assert sections()["runscript"].strip() == 'exec slidelane "$@"'
    assert "PYTHONNOUSERSITE=1" in sections()["environment"]


def test_it_holds_no_setting_but_by_its_name() -> None:
    """Settings are given at its start, and every name in its help is an existing setting."""
    known = {row[0].strip("`") for row in EXPECTED.values()}
    assert set(re.findall(r"SLIDELANE_\w+", TEXT)) <= known | {"SLIDELANE_"}
    assert "SLIDELANE_" not in sections()["environment"]
