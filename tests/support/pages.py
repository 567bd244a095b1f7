"""Read the documents for tests: pages, tables, sections, code blocks, the README's order."""

import re

from tests.support.paths import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
)


def read(page: str) -> str:
    return (ROOT / page).read_text()


def table(text: str) -> dict[str, list[str]]:
    """Return the table rows whose first cell is code, by that cell."""
    rows = [
        re.split(r"\s*(?<!\\)\|\s*", line.strip("| \n"))
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) == len({row[0] for row in rows}), "two rows have the same first cell"
    return {row[0].strip("`"): row[1:] for row in rows}


def section(text: str, title: str) -> str:
    """Return the text below the heading `title`."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def readme_commands() -> str:
    """Return the README's commands that order and download an overlay, without `make serve`."""
    (commands,) = (block for block in blocks(read("README.md"), "sh") if "curl" in block)
    starting, _, ordering = commands.partition("\n\n")
    assert starting.startswith("make serve")
    return ordering


def readme_order(folder: str) -> str:
    """Return the README's order as JSON, as a shell whose working folder is `folder` sends it."""
    (order,) = re.findall(r"-d '(\{.*?\})'\n", readme_commands(), re.DOTALL)
    return str(order).replace("'\"$PWD\"'", folder)


def readme_destination() -> str:
    """Return the JSON that the README adds to an order to send its results to Techcyte."""
    (addition,) = blocks(read("README.md"), "json")
    return addition
