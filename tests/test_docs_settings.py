"""Compare docs/settings.md with the settings: every key, its environment name, its default."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter

from broker.settings.config import (
    CONFIG_VARIABLE,
    PREFIX,
    BrokerSettings,
    Config,
    ServicesSettings,
    WorkerSettings,
)
from broker.settings.section import Section
from broker.settings.sources import CALLER_KEY_VARIABLE
from tests.support.pages import PAGES, blocks, read, table

SECTIONS: dict[str, type[BaseModel]] = {
    "broker": BrokerSettings,
    "services": ServicesSettings,
    "worker": WorkerSettings,
}


def models_in(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the settings inside a list, a dict or a union, each with its part of the key."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    arguments = get_args(annotation)
    for inner in arguments:
        if get_origin(inner) is Annotated:
            yield from models_in(inner)
        elif isinstance(inner, type) and issubclass(inner, Section):
            if get_origin(annotation) in (Union, UnionType):
                yield "", inner
            else:
                yield ".NAME" if arguments[0] is str else "[]", inner


def settings(model: type[BaseModel], path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every key with its environment name and its default, as in a row of the table."""
    for name, field in model.model_fields.items():
        key = f"{path}.{field.alias or name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings(kind, key)
            continue
        yield key, [environment_name(key), default(field)]
        for step, inner in models_in(kind):
            yield from settings(inner, key + step)


def environment_name(key: str) -> str:
    # an item of a list has no environment variable of its own
    return "in the list" if "[]" in key else f"`{PREFIX}{key.replace('.', '__').upper()}`"


def default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{TypeAdapter(Any).dump_json(value, exclude_defaults=True).decode()}`"


EXPECTED = dict(row for name, model in SECTIONS.items() for row in settings(model, name))


@pytest.mark.parametrize("key", EXPECTED)
def test_every_setting_is_documented_with_its_default(key: str) -> None:
    """docs/settings.md has one row for each key: its environment name, its default, its meaning."""
    row = table(read("docs/settings.md")).get(key)
    assert row, (
        f"docs/settings.md has no row for {key}: | `{key}` | {' | '.join(EXPECTED[key])} | … |"
    )
    assert row[:2] == EXPECTED[key]
    assert len(row[2].split()) >= 3


def test_no_setting_is_documented_that_is_not_there() -> None:
    """A key that was renamed or removed leaves no row behind."""
    assert set(table(read("docs/settings.md"))) == set(EXPECTED)


@pytest.mark.parametrize("example", blocks(read("docs/settings.md"), "json"))
def test_every_settings_example_can_be_loaded(example: str) -> None:
    """Each config.json of the page is accepted as it stands."""
    given = json.loads(example)
    assert Config(**given).broker.allow_hosts == tuple(
        given.get("broker", {}).get("allow_hosts", ())
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_that_is_named_exists(page: Path) -> None:
    """A name that starts with SLIDELANE_ is a setting, or the file of one."""
    known = {row[0].strip("`") for row in EXPECTED.values()}
    known |= {CONFIG_VARIABLE, CALLER_KEY_VARIABLE}
    named = set(re.findall(rf"{PREFIX}[A-Z0-9_]+", page.read_text()))
    assert {name.removesuffix("_FILE") for name in named - known} <= known
