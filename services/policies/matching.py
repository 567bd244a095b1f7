"""Which policy is for a scan, by what is known of the scan before it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from broker.orders.stains import same_stain
from broker.settings.services.policies import LABEL, Policy


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """What is known of a scan that arrives. What nobody says fits no condition."""

    stain: str | None = None
    path: str | None = None
    modality: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_order(cls, scan: Mapping[str, Any], labels: Mapping[str, Any]) -> "ScanFacts":
        """Return what an order that nobody has checked yet says of a scan, and with which labels.

        The modality is read in a file of a watched folder only.
        """
        source = scan.get("source")
        path = None
        if isinstance(source, Mapping) and source.get("type") == "path":
            path = _text(source.get("path"))
        texts = {name: value for name, value in labels.items() if isinstance(value, str)}
        return cls(stain=_text(scan.get("stain")), path=path, labels=texts)


def fits(policy: Policy, facts: ScanFacts) -> bool:
    """Return whether a scan meets every condition of the policy."""
    return all(_meets(facts, name, accepted) for name, accepted in policy.match.items())


def fitting(policies: Sequence[Policy], facts: ScanFacts, only: str | None = None) -> list[Policy]:
    """Return every policy that the scan fits, or that of this name alone, where it does."""
    return [policy for policy in policies if only in (None, policy.name) and fits(policy, facts)]


def first_for_all(policies: Sequence[Policy], scans: Sequence[ScanFacts]) -> Policy | None:
    """Return the first policy that all scans of an order fit."""
    for policy in policies:
        if all(fits(policy, facts) for facts in scans):
            return policy
    return None


def _meets(facts: ScanFacts, name: str, accepted: Sequence[str]) -> bool:
    if name == "stain":
        return any(same_stain(facts.stain, one) for one in accepted)
    if name == "modality":
        stated = (facts.modality or "").strip().upper()
        return bool(stated) and any(one.upper() == stated for one in accepted)
    if name == "path":
        return facts.path is not None and any(_is_path(facts.path, one) for one in accepted)
    value = facts.labels.get(name.removeprefix(LABEL))
    return value is not None and any(fnmatchcase(value, one) for one in accepted)


def _is_path(path: str, pattern: str) -> bool:
    """Return whether a path, or its end from some folder on, is the one of a pattern."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}")


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return None
