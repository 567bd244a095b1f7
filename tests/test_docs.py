"""Compare the documents with the code: errors, states, addresses, examples, links and paths."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from broker.errors import CODES
from broker.order_store import OrderStore
from broker.orders.destinations import (
    AnnotationDestination,
    CaMicroscopeDestination,
    WebhookDestination,
)
from broker.orders.order import REOPENED, TRANSITIONS, OrderState, ScanState
from broker.orders.request import OrderRequest, ScanRequest, TechcyteDestination
from broker.orders.roi import GeoJson, Percent, Polygon, Rectangle, Roi
from broker.orders.source import (
    CaseSource,
    ImageServerSource,
    PathSource,
    SlideSource,
    Source,
    UploadSource,
    UrlSource,
)
from broker.settings.config import Config
from services.app import create_app
from services.responses.views import OrderView
from tests.support.pages import (
    PAGES,
    ROOT,
    blocks,
    read,
    readme_destination,
    readme_order,
    section,
    table,
)
from worker.geometry.frame import MppSource

PACKAGES = ("broker", "services", "worker", "slidelane")
REQUEST = {"queued": "retry", "staged": "retry", "delivering": "deliver"}


def test_every_error_code_is_documented() -> None:
    """docs/errors.md has a row for each code: status, blame, meaning as in the code, what to do."""
    rows = {code: row for code, row in table(read("docs/errors.md")).items() if len(row) == 4}
    assert {code: row[:3] for code, row in rows.items()} == {
        code: [str(known.status), known.blame, known.title] for code, known in CODES.items()
    }
    assert all(row[3] for row in rows.values())


def codes_in(file: Path) -> Iterator[str]:
    """Yield the codes of the errors that a file raises."""
    if file.suffix == ".lua":
        yield from re.findall(r"code = '(\w+)'", file.read_text())
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            code = node.args[0]
            if node.func.id in ("OrderError", "TemporaryError", "Problem") and isinstance(
                code, ast.Constant
            ):
                yield str(code.value)


def test_every_fault_that_is_made_has_a_documented_code() -> None:
    """A code that is not in the list would be answered as a bug."""
    files = [
        file
        for package in PACKAGES
        for kind in ("py", "lua")
        for file in (ROOT / package).rglob(f"*.{kind}")
    ]
    assert {code for file in files for code in codes_in(file)} <= set(CODES)


@pytest.mark.parametrize(
    ("title", "states"), [("States of an order", OrderState), ("States of a scan", ScanState)]
)
def test_every_state_is_documented(title: str, states: type[StrEnum]) -> None:
    """docs/orders.md says what each state means, in the order of the code, and which are ends."""
    rows = table(section(read("docs/orders.md"), title))
    assert list(rows) == [state.value for state in states]
    moves = TRANSITIONS["order" if states is OrderState else "scan"]
    assert [state for state, row in rows.items() if row[0].startswith("an end: ")] == [
        state for state, after in moves.items() if not after
    ]


def picture(kind: str) -> str:
    """Return the states of an order or a scan as a Mermaid state diagram."""
    moves = [f"{state} --> {after}" for state, many in TRANSITIONS[kind].items() for after in many]
    ends = [f"{state} --> [*]" for state, many in TRANSITIONS[kind].items() if not many]
    reopened = [
        f"{state} --> {after}: {REQUEST[after]}"
        for state, many in REOPENED[kind].items()
        for after in many
    ]
    return "".join(
        f"{line}\n"
        for line in ["stateDiagram-v2", "    [*] --> queued", *indented(moves + ends + reopened)]
    )


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


@pytest.mark.parametrize("kind", ["order", "scan"])
def test_the_picture_of_states_is_the_table_that_rules(kind: str) -> None:
    """The state diagrams of ARCHITECTURE.md are those of TRANSITIONS and REOPENED."""
    assert picture(kind) in blocks(read("ARCHITECTURE.md"), "mermaid")


def test_every_address_is_documented(store: OrderStore) -> None:
    """docs/orders.md lists what the API answers, and nothing else."""
    paths = create_app(Config(), store).openapi()["paths"]
    answered = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(table(section(read("docs/orders.md"), "Addresses"))) == answered


def undocumented_fields(rows: dict[str, list[str]], kinds: dict[str, type[BaseModel]]) -> list[str]:
    """Return the fields of each kind that its row does not name."""
    return [
        f"{kind}: {name}"
        for kind, model in kinds.items()
        for name in model.model_fields
        # `name` is shown of a destination from the settings, and is not given with its type
        if name not in ("type", "name") and f"`{name}`" not in rows[kind][0]
    ]


def test_every_field_of_an_order_is_documented() -> None:
    """The tables of docs/orders.md hold the fields that the order's model has, by their names."""
    rows = table(section(read("docs/orders.md"), "One order in full"))
    scan = {f"scans[].{name}" for name in ScanRequest.model_fields}
    kinds: dict[str, type[BaseModel]] = {
        "techcyte": TechcyteDestination,
        "annotation": AnnotationDestination,
        "camicroscope": CaMicroscopeDestination,
        "webhook": WebhookDestination,
    }
    assert set(rows) == {*OrderRequest.model_fields, *scan, *kinds, "none"}
    assert undocumented_fields(rows, kinds) == []


def test_every_source_is_documented_with_an_example() -> None:
    """Each kind with its fields, and an order for each of them that is accepted."""
    text = section(read("docs/orders.md"), "Sources")
    kinds: dict[str, type[BaseModel]] = {"url": UrlSource, "image_server": ImageServerSource}
    kinds |= {"path": PathSource, "case": CaseSource, "upload": UploadSource, "slide": SlideSource}
    assert set(table(text)) == set(kinds)
    assert undocumented_fields(table(text), kinds) == []
    examples = [TypeAdapter(Source).validate_json(example) for example in blocks(text, "json")]
    shown = {(example.type, *sorted(example.model_fields_set - {"type"})) for example in examples}
    assert shown == {
        ("url", "url"),
        ("url", "urls"),
        ("url", "sha256", "zip_url"),
        ("path", "path"),
        ("case", "case_id"),
        ("image_server", "protocol", "url"),
        ("upload", "upload"),
        ("slide", "slide"),
    }


def test_every_form_of_region_is_documented_with_an_example() -> None:
    """The fields of each form, and a region of each that is accepted."""
    text = section(read("docs/orders.md"), "Regions")
    forms = (Rectangle, Polygon, GeoJson, Percent)
    words = {'"full"', '"square"'}
    fields = {name for form in forms for name in form.model_fields}
    assert set(table(text)) == fields | words
    examples = [TypeAdapter(Roi).validate_json(example) for example in blocks(text, "json")]
    assert [type(example) for example in examples] == [*forms, str]


def test_every_word_for_whose_microns_they_are_is_documented() -> None:
    """What results say in `mpp_source` is explained, each word once."""
    assert set(table(section(read("docs/orders.md"), "Microns per pixel"))) == set(
        get_args(MppSource)
    )


def test_the_example_of_an_order_is_accepted() -> None:
    """The order of docs/orders.md is valid and leaves no field out."""
    example = blocks(read("docs/orders.md"), "json")[0]
    order = OrderRequest.model_validate_json(example)
    assert order.model_fields_set == set(OrderRequest.model_fields)
    assert order.scans[0].model_fields_set == set(ScanRequest.model_fields)


def test_the_example_of_an_answer_is_one() -> None:
    """The answer of docs/orders.md is what the API would show: every field that it would have."""
    example = json.loads(blocks(section(read("docs/orders.md"), "The answer"), "json")[0])
    assert OrderView.model_validate(example).model_dump(mode="json") == example


def test_the_order_of_the_readme_is_accepted() -> None:
    """The README's order is valid, with the destination that the README shows and without it."""
    order = readme_order("/home/somebody/slidelane")
    assert OrderRequest.model_validate_json(order).algorithm == "ki67"
    sent = OrderRequest.model_validate_json(
        json.dumps(json.loads(order) | json.loads(readme_destination()))
    )
    assert isinstance(sent.destination, TechcyteDestination)


def test_every_make_target_is_explained() -> None:
    """`make` prints every target, and README or CONTRIBUTING says what it is for."""
    printed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^  make (\w+)", printed, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
    assert set(targets) == set(phony.split())
    text = read("README.md") + read("CONTRIBUTING.md")
    assert [target for target in targets if f"make {target}" not in text and target != "help"] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links name files that exist, and headings that are in them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not heading or heading in headings(file), target


def headings(file: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


NO_FILES = ("data/", "results/", "parcels/", "application/")
"""Folders of a running service, and media types: nothing in the repository."""
NETWORK = re.compile(r"[\d.]+/\d+")
SOURCE_SUFFIXES = (".py", ".lua", ".md", ".toml", ".yml", ".yaml", ".sh", ".sbatch", ".def")
PATH = re.compile(r"[\w.-]+(?:/[\w.*-]+)*/?")


def paths_in(text: str) -> Iterator[str]:
    """Yield the words in code style that name a path of the repository, without `::test`."""
    outside_blocks = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`([^`\n]+)`", outside_blocks):
        for word in span.split():
            path = word.partition("::")[0]
            if PATH.fullmatch(path) and is_repository_path(path):
                yield path


def is_repository_path(path: str) -> bool:
    if path.startswith(NO_FILES) or NETWORK.fullmatch(path):
        return False
    return "/" in path or path.endswith(SOURCE_SUFFIXES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    """Every path in code style exists, relative to the root of the repository or to the page."""
    named = set(paths_in(page.read_text()))
    missing = [
        path for path in named if not any(list(folder.glob(path)) for folder in (ROOT, page.parent))
    ]
    assert missing == []


def test_a_path_that_is_named_is_found_in_commands_and_alone() -> None:
    """The check reads paths in commands and before `::`, but no addresses and data folders."""
    text = (
        "`worker/tasks.py`, `tests/a/b.py::test_c`, `pytest -q tests/d.py`, `broker/`, `cards.py`, "
        "`Makefile`, `/v1/orders`, `data/sample/`, `application/json`, `application/problem+json`, "
        "`https://a.example/b`, `features.geojson`, `10.0.0.0/8`"
    )
    assert list(paths_in(text)) == [
        "worker/tasks.py",
        "tests/a/b.py",
        "tests/d.py",
        "broker/",
        "cards.py",
    ]
