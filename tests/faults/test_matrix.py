"""docs/faults.md names tests that exist, for every row."""

import ast
import re

from tests.support.stack import ROOT

ROWS = 39
ROW = re.compile(r"\| (\d+) \|.*\| (.+?) \|")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_row_of_the_matrix_is_proven_or_says_why_not() -> None:
    """Each of the 39 faults names tests that are there, or the reason why none is."""
    rows = dict(ROW.findall((ROOT / "docs" / "faults.md").read_text()))
    assert [int(number) for number in rows] == list(range(1, ROWS + 1))
    for number, proof in rows.items():
        named = NAMED.findall(proof)
        assert named or proof.startswith("not here: "), f"row {number} proves nothing"
        for file, test in named:
            assert test in _functions(file), (
                f"row {number} names {file}::{test}, which is not there"
            )


def _functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
