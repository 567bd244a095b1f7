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


def readme_order() -> str:
    (order,) = re.findall(r"-d '(\{.*?\})'\n", read("README.md"), re.DOTALL)
    return str(order)
