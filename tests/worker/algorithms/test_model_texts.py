"""What people wrote about a model, in files that anybody may have put into its folder."""

import os
from pathlib import Path

import pytest

from broker.order_store import OrderStore
from broker.settings.config import AlgorithmSettings, WorkerSettings
from tests.support.networks import a_network
from worker.algorithms.model_texts import MAX_BYTES, texts_of
from worker.algorithms.monitor import AlgorithmMonitor
from worker.process.heartbeat import Heartbeat


def of_folder(folder: Path) -> dict[str, str]:
    return texts_of(AlgorithmSettings(kind="weights", folder=folder))


def test_texts_are_read_as_they_are(tmp_path: Path) -> None:
    """In UTF-8, under their names; other files of the folder are not."""
    (tmp_path / "README.md").write_bytes("\ufeff# Färbung\n<script>".encode())
    (tmp_path / "LICENSE").write_text("MIT")
    (tmp_path / "model.json").write_text("{}")
    assert of_folder(tmp_path) == {"README.md": "# Färbung\n<script>", "LICENSE": "MIT"}
    assert texts_of(AlgorithmSettings(kind="grid")) == {}


def test_what_is_no_text_of_the_folder_is_left_out(tmp_path: Path) -> None:
    """Another encoding, zero bytes, a folder, a pipe, and a link that leads out."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text("token")
    (folder / "README.md").symlink_to(tmp_path / "secret")
    (folder / "README.txt").write_bytes("Färbung".encode("latin-1"))
    (folder / "README").mkdir()
    (folder / "LICENSE").write_bytes(b"a\0b")
    os.mkfifo(folder / "LICENSE.txt")
    assert of_folder(folder) == {}


@pytest.mark.parametrize("before", [0, 1])
def test_a_long_text_is_cut_and_says_so(tmp_path: Path, before: int) -> None:
    """Also where the cut would go through a character."""
    (tmp_path / "README.md").write_text("x" * before + "ß" * MAX_BYTES)
    text = of_folder(tmp_path)["README.md"]
    assert text.startswith("x" * before + "ß" * ((MAX_BYTES - before) // 2) + "\n… cut")
    assert len(text.encode()) < MAX_BYTES + 100


def test_a_worker_announces_the_texts_it_has(store: OrderStore, tmp_path: Path) -> None:
    """With the card; a text that is gone when the folder is looked at again is gone."""
    folder = a_network(tmp_path / "zoo")
    for name in ("README.md", "LICENSE"):
        (folder / name).write_text(f"the {name}")
    card_texts = {"zoo": of_folder(folder), "none": {}}
    store.announce([], card_texts)
    assert store.text("zoo", "README.md") == "the README.md"
    assert store.text("zoo", "model.json") is None
    (folder / "LICENSE").unlink()
    store.announce([], {"zoo": of_folder(folder)})
    assert store.text("zoo", "LICENSE") is None
    assert store.text("zoo", "README.md") == "the README.md"
    heartbeat = Heartbeat(store, "gpu-1@a", ["gpu"], {})
    AlgorithmMonitor(
        WorkerSettings(algorithms={"grid": AlgorithmSettings(kind="grid")}), "", heartbeat
    )
    heartbeat.beat()
    assert {known.name: known.texts for known in store.algorithms()} == {"grid": ()}
