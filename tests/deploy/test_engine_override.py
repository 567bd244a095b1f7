"""The override that gives workers a container engine: for workers alone, and its risk is said."""

import pytest

from tests.support.compose_files import PROFILES, compose_file, services
from tests.support.pages import ROOT, read, section
from tests.test_containers import FILES, VARIABLES

OVERRIDE = "deploy/compose/engine.yml"
GROUP = {"ENGINE_GID": "999"}
CLIENT = "/usr/local/bin/docker"


def test_nobody_has_an_engine_without_the_override() -> None:
    """No socket, no group, no client in any other file."""
    for file in FILES:
        if file in (OVERRIDE, ".env.example"):
            continue
        text = read(file)
        assert "docker.sock" not in text, file
        assert "DOCKER_HOST" not in text, file


@pytest.mark.parametrize("profile", PROFILES)
def test_the_override_changes_workers_alone(profile: str) -> None:
    """It adds a socket, the group that may use it and a client; it takes no protection away."""
    changed = compose_file(OVERRIDE, VARIABLES | GROUP | {"COMPOSE_PROFILES": profile})["services"]
    assert set(changed) == {"worker"}
    worker = changed["worker"]
    assert set(worker) == {"image", "build", "environment", "group_add", "volumes"}
    assert worker["group_add"] == ["999"]
    assert worker["volumes"] == ["/var/run/docker.sock:/run/engine.sock"]
    assert worker["environment"] == {"DOCKER_HOST": "unix:///run/engine.sock"}
    base = services(profile, VARIABLES)["worker"]["image"]
    assert worker["build"]["args"]["WORKER"] == base
    last = (ROOT / worker["build"]["dockerfile"]).read_text().rpartition("\nFROM ")[2]
    assert last.splitlines() == ["${WORKER}", f"COPY --from=client {CLIENT} {CLIENT}"]
    assert worker["image"] == f"{base}-engine"


def test_the_group_of_the_socket_must_be_named() -> None:
    """Without it the worker could not use the socket, and would say so only at the first order."""
    with pytest.raises(KeyError, match="ENGINE_GID is not set; it is: stat -c"):
        compose_file(OVERRIDE, VARIABLES)


def test_the_page_says_what_the_socket_risks() -> None:
    """And names the two ways without a risk first."""
    page = section(read("docs/containers.md"), "A container engine for workers")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert "root of the machine" in rows[-1]
    assert OVERRIDE in rows[-1]
    assert "root of the machine" not in "".join(rows[:-1])
    assert f"-f {OVERRIDE}" in page
