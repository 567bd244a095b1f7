"""The examples of docs/python-api.md run as they stand, and the built-ins use nothing else."""

import ast
import json
import re
from pathlib import Path
from typing import Any

from broker.settings.config import WorkerSettings
from tests.support.paths import ROOT
from tests.support.python_scans import code, dotted, entry, features, results, run

PAGE = (ROOT / "docs" / "python-api.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_are_right(tmp_path: Path) -> None:
    """By tiles, by image, and the check of both; both find something on a slide."""
    tiles, image, check = BLOCKS
    names: dict[str, Any] = {}
    for block in (tiles, image, check):
        exec(compile(block, "python-api.md", "exec"), names)  # noqa: S102 - our own page
    slide = dotted(tmp_path)
    by_tiles = run(entry(code(tmp_path, tiles, "dots.py"), "Dots"), slide, tmp_path)
    assert results(by_tiles)["summary"]["dots"] == len(features(by_tiles)) > 0
    file = code(tmp_path, image, "follicles.py")
    by_image = run(entry(file, "process_image"), slide, tmp_path, fence=2)
    assert results(by_image)["counts"] == {"follicle": len(features(by_image))}
    assert len(features(by_image)) == 1


def test_the_settings_on_the_page_are_taken() -> None:
    """Every key of the entries is one that there is."""
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    settings = WorkerSettings.model_validate(json.loads(text)["worker"])
    assert settings.algorithms["dots"].entry == "/srv/algorithms/dots.py:Dots"


def test_built_in_algorithms_are_written_against_the_interface_alone() -> None:
    """They import nothing of ours but `slidelane.algorithms` and their own package."""
    own = ROOT / "worker" / "algorithms" / "builtin"
    allowed = ("slidelane.algorithms", "worker.algorithms.builtin.ki67")
    for file in (own / "box_grid.py", *(own / "ki67").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                is_ours = node.module.partition(".")[0] in ("worker", "broker", "slidelane")
                assert not is_ours or node.module.startswith(allowed), (file.name, node.module)
