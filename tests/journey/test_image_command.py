"""`slidelane image`, as a person at a worker's machine types it."""

import json
from pathlib import Path

from tests.support.command_line import slidelane
from tests.support.image_engines import DIGEST, an_engine

CONFIGURED = "registry.lab/missing:1"


def test_images_are_defined_pulled_listed_and_removed(tmp_path: Path) -> None:
    """By the engine of the machine; without Redis, and with one image that an algorithm names."""
    algorithm = {"kind": "container", "image": CONFIGURED}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"worker": {"algorithms": {"x": algorithm}}}))
    env = {
        "PATH": str(an_engine(tmp_path)),
        "SLIDELANE_CONFIG": str(config),
        "SLIDELANE_BROKER__DATA": str(tmp_path / "data"),
        "SUDO_USER": "anna",
    }
    added = slidelane("image", "add", "registry.lab/mitosis:3", "--name", "Mitosis 3", **env)
    assert (added.returncode, added.stderr) == (0, "")
    assert "registry.lab/mitosis:3: created; bring it here with: slidelane image" in added.stdout
    pulled = slidelane("image", "pull", **env)
    assert pulled.returncode == 1
    assert f"registry.lab/mitosis:3: uploaded, sha256:{DIGEST} (podman)" in pulled.stdout
    assert (
        f"{CONFIGURED}: failed: podman does not get the image {CONFIGURED}: Error" in pulled.stdout
    )
    listed = slidelane("image", "list", **env)
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = [line.split("  ")[0] for line in listed.stdout.splitlines()]
    assert rows == ["NAME", "Mitosis 3", "missing", ""]
    assert listed.stdout.splitlines()[1].count("anna") == 1
    assert listed.stdout.splitlines()[3].endswith("Error: manifest unknown")
    removed = slidelane("image", "remove", "Mitosis 3", "missing", "missing", **env)
    assert removed.returncode == 1
    assert "registry.lab/mitosis:3 is no longer defined; podman still has it" in removed.stdout
    assert "missing is named by worker.algorithms.x in the settings" in removed.stderr


def test_what_an_engine_would_take_for_an_option_is_refused() -> None:
    """Before anything is started."""
    refused = slidelane("image", "add", "--", "--privileged")
    assert refused.returncode == 2
    assert "begins with no hyphen" in refused.stderr
