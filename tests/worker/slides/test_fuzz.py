"""Damaged files of every format, some of them in every run; `make faults` tries two thousand."""

from pathlib import Path

import pytest

from tests.support.fuzz import DAMAGES, Case, outcome, run
from tests.support.slide_corpus import corpus
from worker.slides.sandbox.client import Sandbox

FILES = 130


@pytest.mark.parametrize("name", sorted(corpus()))
def test_the_whole_file_is_read(name: str, tmp_path: Path) -> None:
    """What is damaged below is a file that ends in findings when it is not."""
    whole = Case(name, "none", Path(name).suffix, corpus()[name])
    assert outcome(whole, Sandbox(1), tmp_path) == "findings"


def test_a_damaged_file_ends_in_findings_or_in_a_clear_problem() -> None:
    """Whatever the damage: nothing hangs and nothing else is raised, with little memory for those who decode."""
    seen: set[tuple[str, str]] = set()
    ends = run(FILES, 4, lambda _, case, __, ___: seen.add((case.format, case.damage)))
    assert {damage for _, damage in seen} == {damage.__name__ for damage in DAMAGES}
    assert {name for name, _ in seen} == set(corpus())
    assert {code for _, code in ends} == {"findings", "not_a_slide", "slide_unreadable"}
