"""The compose files as the tests read them: one profile, with its variables filled in. Knows no engine."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.pages import ROOT

PROFILES = ("gpu", "cpu")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
EXAMPLE = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)


def filled(part: Any, given: Mapping[str, str]) -> Any:
    """A part of a file with its variables filled in, as Compose does. Raises `KeyError` for a required one."""
    if isinstance(part, dict):
        return {key: filled(value, given) for key, value in part.items()}
    if isinstance(part, list):
        return [filled(value, given) for value in part]

    def value(found: re.Match[str]) -> str:
        name, rule, rest = found.groups()
        if rule == "?" and not given.get(name):
            raise KeyError(f"{name} {rest}")
        return given.get(name) or rest or ""

    return VARIABLE.sub(value, part) if isinstance(part, str) else part


class _Loader(yaml.SafeLoader):
    """Knows Compose's own tags."""


for tag in ("!reset", "!override"):
    _Loader.add_constructor(tag, lambda loader, node: loader.construct_sequence(node, deep=True))


def compose_file(name: str, given: Mapping[str, str]) -> Any:
    """One file; Compose reads its YAML first and fills in variables then."""
    return filled(yaml.load((ROOT / name).read_text(), _Loader), given)  # noqa: S506 - a safe one with two more tags


def services(profile: str | None, given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Every service of a profile. `docker-compose.yml` includes one file, whose name the profile fills in."""
    given = {**given, **({"COMPOSE_PROFILES": profile} if profile else {})}
    whole = compose_file("docker-compose.yml", given)
    (included,) = whole["include"]
    more = compose_file(included["path"], given)
    assert not set(more["services"]) & set(whole["services"]), (
        "Compose refuses a service that is there twice"
    )
    return {**whole["services"], **more["services"]}


def example() -> dict[str, str]:
    """What `.env.example` says, commented examples included."""
    return dict(EXAMPLE.findall((ROOT / ".env.example").read_text()))


def seconds(duration: str) -> float:
    """`60s` or `5m` as seconds."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]
