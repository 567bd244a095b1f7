"""Prints the demonstration: live bars on a terminal, plain lines elsewhere, a report at the end."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from demo.orders import Followed
from demo.receivers import Receiver


class Screen:
    """Prints everything that the demonstration shows."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def step(self, text: str) -> AbstractContextManager[object]:
        """Print what is being done: with a spinner on a terminal, as a line elsewhere."""
        if self.console.is_terminal:
            return self.console.status(text)
        self.console.print(text)
        return nullcontext()

    def done(self, text: str) -> None:
        """Print what has been done."""
        self.console.print(f"[green]✓[/] {text}")

    def failed(self, text: str) -> None:
        """Print what went wrong."""
        self.console.print(text, style="red", markup=False, soft_wrap=True)

    def watch(self, orders: Sequence[Followed]) -> "Bars | Lines":
        """Return what shows the orders while they are followed."""
        if self.console.is_terminal:
            return Bars(self.console, orders)
        return Lines(self.console, orders)

    def report(self, orders: Sequence[Followed], receivers: dict[str, Receiver]) -> None:
        """Print what was ordered, measured and received."""
        table = Table(
            "", *(order.title for order in orders), title="What came of it", title_justify="left"
        )
        for name, values in _rows(orders):
            table.add_row(name, *values)
        self.console.print(table)
        for name, receiver in receivers.items():
            for entry in receiver.ledger:
                note = ", ".join(f"{key} {_plain(value)}" for key, value in entry.note.items())
                self.console.print(f"{name} accepted {entry.bytes:,} bytes: {note}", soft_wrap=True)

    def files(self, files: Sequence[Path]) -> None:
        """Print the paths of the files to look at."""
        self.console.print("Files to look at:")
        for file in files:
            self.console.print(f"  {file}", soft_wrap=True)

    def page(self, command: str, addresses: Sequence[str]) -> None:
        """Print how to see the results over their slides in a browser."""
        self.console.print("To see them over the slide in a browser, type")
        self.console.print(f"  {command}", soft_wrap=True)
        self.console.print("and open")
        for address in addresses:
            self.console.print(f"  {address}", soft_wrap=True)


class Bars:
    """One live bar per order."""

    def __init__(self, console: Console, orders: Sequence[Followed]) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._orders: dict[TaskID, Followed] = {
            self._progress.add_task(order.title, total=None, now=_now(order)): order
            for order in orders
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self) -> None:
        """Draw how the orders are now."""
        for task, order in self._orders.items():
            done, total = _done_and_total(order)
            self._progress.update(task, total=total, completed=done, now=_now(order))


class Lines:
    """A line per order whenever its state or stage changes."""

    def __init__(self, console: Console, orders: Sequence[Followed]) -> None:
        self._console = console
        self._orders = orders
        self._printed: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        self.show()
        return self

    def __exit__(self, *_: object) -> None:
        self.show()

    def show(self) -> None:
        """Print what has changed."""
        for order in self._orders:
            state = (order.order["state"], order.scan["state"])
            if self._printed.get(order.title) != state:
                self._printed[order.title] = state
                self._console.print(f"{order.title}: {_now(order)}")


def _done_and_total(order: Followed) -> tuple[int, int | None]:
    """Return the percent done of the whole order, and 100; None before it runs."""
    if order.ended:
        return 100, 100
    if order.order["state"] == "queued":
        return 0, None
    return round(order.order["progress"]["percent"]), 100


def _now(order: Followed) -> str:
    state = str(order.order["state"])
    if state != "running":
        return state
    progress = order.scan["progress"]
    text = f"{state}: {progress['stage']}"
    if progress["total"]:
        text += f" {progress['done']:,}/{progress['total']:,}"
    eta_s = order.order["progress"]["eta_s"]
    if eta_s is not None:
        text += f", {eta_s:.0f} s to go"
    return text


def _rows(orders: Sequence[Followed]) -> list[tuple[str, list[str]]]:
    """Return the rows of the report: a title, and a cell for each order."""
    columns = [_column(order) for order in orders]
    rows = [(title, [column[title] for column in columns]) for title in columns[0]]
    problems = [_problem(order.order) for order in orders]
    if any(problems):
        rows.append(("problem", problems))
    return rows


def _column(order: Followed) -> dict[str, str]:
    """Return the cells of one order by the titles of their rows."""
    timings = order.scan["timings"]
    summary = order.scan["summary"]
    states = [f"{at_s:5.1f} s {name}" for name, at_s in order.states.items()]
    return {
        "order": order.order["id"],
        "states passed": "\n".join(states),
        "tiles": _formatted(timings, "tiles", "{:,.0f}"),
        "classified in": _formatted(timings, "classify_s", "{:.1f} s"),
        "speed": _speed(timings),
        "nuclei": _formatted(summary, "nuclei", "{:,}"),
        "labelling index": _formatted(summary, "labelling_index_pct", "{:.1f} %"),
    }


def _plain(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " ".join(value)
    return str(value)


def _formatted(values: dict[str, Any], name: str, template: str) -> str:
    if values.get(name) is None:
        return "–"
    return template.format(values[name])


def _speed(timings: dict[str, Any]) -> str:
    took_s = timings.get("classify_s")
    if not took_s:
        return "–"
    return f"{timings.get('tiles', 0) / took_s:.1f} tiles/s"


def _problem(order: dict[str, Any]) -> str:
    problem = order.get("error") or order["scans"][0].get("error") or {}
    return ": ".join(str(problem[key]) for key in ("code", "detail") if key in problem)
