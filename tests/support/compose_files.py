"""Read the compose files as Compose does, for one profile and with variables substituted."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.pages import ROOT

PROFILES = ("gpu", "cpu")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
ASSIGNMENT = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)


def substitute(node: Any, variables: Mapping[str, str]) -> Any:
    """Return a node of a file with its variables substituted, as Compose does.

    Raise KeyError where a required variable has no value.
    """
    if isinstance(node, dict):
        return {key: substitute(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [substitute(value, variables) for value in node]
    if not isinstance(node, str):
        return node

    def value_of(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if operator == "?" and not variables.get(name):
            raise KeyError(f"{name} {rest}")
        return variables.get(name) or rest or ""

    return VARIABLE.sub(value_of, node)


class _Loader(yaml.SafeLoader):
    """A safe loader that also reads Compose's own tags."""


for tag in ("!reset", "!override"):
    _Loader.add_constructor(tag, lambda loader, node: loader.construct_sequence(node, deep=True))


def compose_file(name: str, variables: Mapping[str, str]) -> Any:
    """Return the content of one file. As in Compose, variables are substituted after parsing."""
    content = yaml.load((ROOT / name).read_text(), _Loader)  # noqa: S506 - a SafeLoader
    return substitute(content, variables)


def services(profile: str | None, variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return every service of a profile, or of the default profile for None.

    `docker-compose.yml` includes one more file, whose name contains the profile.
    """
    if profile:
        variables = {**variables, "COMPOSE_PROFILES": profile}
    main = compose_file("docker-compose.yml", variables)
    (include,) = main["include"]
    included = compose_file(include["path"], variables)
    assert not set(included["services"]) & set(main["services"]), (
        "Compose refuses a service that is defined twice"
    )
    return {**main["services"], **included["services"]}


def example_variables() -> dict[str, str]:
    """Return the variables of `.env.example`, those that are commented out included."""
    return dict(ASSIGNMENT.findall((ROOT / ".env.example").read_text()))


def seconds(duration: str) -> float:
    """Return a duration such as `60s` or `5m` in seconds."""
    unit_s = {"s": 1, "m": 60, "h": 3600}[duration[-1]]
    return float(duration[:-1]) * unit_s
