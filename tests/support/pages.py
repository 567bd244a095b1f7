"""The documents as the tests read them: pages, tables, sections, code blocks."""

import re

from tests.support.paths import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
)


def read(page: str) -> str:
    return (ROOT / page).read_text()


def table(text: str) -> dict[str, list[str]]:
    """The rows of the tables whose first cell is code, by that cell."""
    rows = [
        re.split(r"\s*(?<!\\)\|\s*", line.strip("| \n"))
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) == len({row[0] for row in rows}), "a row is there twice"
    return {row[0].strip("`"): row[1:] for row in rows}


def section(text: str, title: str) -> str:
    """What stands below the heading `title`."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def readme_commands() -> str:
    """The README's commands that place an order and pick up its overlay, without the start of the service."""
    (commands,) = (block for block in blocks(read("README.md"), "sh") if "curl" in block)
    starting, _, ordering = commands.partition("\n\n")
    assert starting.startswith("make serve")
    return ordering


def readme_order(folder: str) -> str:
    """The README's order as a shell that works in `folder` would send it."""
    (order,) = re.findall(r"-d '(\{.*?\})'\n", readme_commands(), re.DOTALL)
    return str(order).replace("'\"$PWD\"'", folder)


def readme_destination() -> str:
    """What the README tells people to add to an order, to have its results sent to Techcyte."""
    (addition,) = blocks(read("README.md"), "json")
    return addition
