"""Which scans a policy is for."""

from typing import Any

import pytest

from broker.settings.services.policies import Policy
from services.policies.matching import ScanFacts, first_for_all, fits, fitting

FACTS = ScanFacts("Ki-67", "/slides/in/case/a.svs", "SM", {"case": "S26-1"})


def policy(name: str = "p", **match: Any) -> Policy:
    return Policy(name=name, algorithm="ki67", match={k.replace("__", "."): v for k, v in match.items()})  # fmt: skip


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, True),
        ({"stain": "ki67"}, True),
        ({"stain": "MIB-1"}, True),
        ({"stain": ["HER2", "Ki67"]}, True),
        ({"stain": "HER2"}, False),
        ({"stain": "DAB"}, False),
        ({"path": "*.svs"}, True),
        ({"path": "case/*.svs"}, True),
        ({"path": "/slides/*"}, True),
        ({"path": "/other/*"}, False),
        ({"path": "*.ndpi"}, False),
        ({"modality": "sm"}, True),
        ({"modality": "CR"}, False),
        ({"label__case": "S26-*"}, True),
        ({"label__case": "S27-*"}, False),
        ({"label__block": "*"}, False),
        ({"stain": "Ki67", "modality": "CR"}, False),
    ],
)
def test_every_condition_must_fit(match: dict[str, Any], expected: bool) -> None:
    """Each condition fits with one of its values; names of stains are compared, not letters."""
    assert fits(policy(**match), FACTS) is expected


def test_what_nobody_says_fits_no_condition() -> None:
    """An unknown stain, path or modality is none of those that a policy names."""
    for match in ({"stain": "H&E"}, {"path": "*"}, {"modality": "SM"}):
        assert not fits(policy(**match), ScanFacts())


@pytest.mark.parametrize(
    ("one", "same", "other"), [("H&E", "HE stain", "PAS"), ("IHC", "DAB", "Ki67")]
)
def test_a_stain_has_several_names_and_a_marker_its_own(one: str, same: str, other: str) -> None:
    """Ki-67 is a marker: a policy for any DAB does not take it, nor the other way round."""
    assert fits(policy(stain=one), ScanFacts(stain=same))
    assert not fits(policy(stain=one), ScanFacts(stain=other))


def test_all_policies_of_a_scan_or_the_first_of_an_order() -> None:
    """A scan that arrives gets each policy that fits; an order has one algorithm, the first's."""
    policies = [policy("one", stain="Ki67"), policy("two"), policy("three", stain="HER2")]
    assert [one.name for one in fitting(policies, FACTS)] == ["one", "two"]
    assert [one.name for one in fitting(policies, FACTS, "two")] == ["two"]
    assert fitting(policies, FACTS, "three") == []
    first = first_for_all(policies, [FACTS, ScanFacts(stain="PAS")])
    assert first is not None
    assert first.name == "two"
    assert first_for_all(policies[2:], [FACTS]) is None
