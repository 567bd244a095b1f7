"""The definition of the Apptainer image, read as text: no program that builds it is here to be asked."""

import re
import subprocess

from tests.support.kubernetes_objects import containers
from tests.support.kustomize import rendered
from tests.support.pages import ROOT
from tests.test_docs_settings import EXPECTED

TEXT = (ROOT / "deploy" / "apptainer" / "worker.def").read_text()
SCRIPTS = ("environment", "runscript", "test")


def parts() -> dict[str, str]:
    """The sections by name; the header is ``."""
    header, *sections = re.split(r"^%(\w+)\n", TEXT, flags=re.MULTILINE)
    return {"": header} | dict(zip(sections[::2], sections[1::2], strict=True))


def test_it_is_made_of_the_image_that_kubernetes_runs() -> None:
    """One list of what is in a worker: that of its Dockerfile."""
    header = dict(line.split(": ") for line in parts()[""].splitlines() if line and line[0] != "#")
    (worker,) = [one["image"] for one in containers(rendered("gpu")) if one["name"] == "worker"]
    assert header == {"Bootstrap": "docker-daemon", "From": worker}


def test_its_scripts_are_shell_and_pass_arguments_on() -> None:
    """What stands behind `apptainer run` reaches `slidelane` as it is."""
    for name in SCRIPTS:
        subprocess.run(["sh", "-n"], input=parts()[name], text=True, check=True)
    assert parts()["runscript"].strip() == 'exec slidelane "$@"'
    assert "PYTHONNOUSERSITE=1" in parts()["environment"]


def test_it_holds_no_setting_but_by_its_name() -> None:
    """Settings are given when it is started; a name in its help is one that there is."""
    known = {row[0].strip("`") for row in EXPECTED.values()}
    assert set(re.findall(r"SLIDELANE_\w+", TEXT)) <= known | {"SLIDELANE_"}
    assert "SLIDELANE_" not in parts()["environment"]
