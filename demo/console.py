"""How the demonstration looks: live bars on a terminal, plain lines anywhere else, and the report at the end."""

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
    """Everything that is printed."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def step(self, text: str) -> AbstractContextManager[object]:
        """Say what is being done: with a spinner on a terminal, as a line elsewhere."""
        if self.console.is_terminal:
            return self.console.status(text)
        self.console.print(text)
        return nullcontext()

    def done(self, text: str) -> None:
        """Say what has been done."""
        self.console.print(f"[green]✓[/] {text}")

    def failed(self, text: str) -> None:
        """Say what went wrong."""
        self.console.print(text, style="red", markup=False, soft_wrap=True)

    def watch(self, orders: Sequence[Followed]) -> "Bars | Lines":
        """Show the orders while they are followed."""
        return (
            Bars(self.console, orders) if self.console.is_terminal else Lines(self.console, orders)
        )

    def report(self, orders: Sequence[Followed], receivers: dict[str, Receiver]) -> None:
        """What was ordered, measured and received."""
        table = Table(
            "", *(order.title for order in orders), title="What came of it", title_justify="left"
        )
        for name, values in _rows(orders):
            table.add_row(name, *values)
        self.console.print(table)
        for name, receiver in receivers.items():
            for entry in receiver.ledger:
                what = ", ".join(f"{key} {_plain(value)}" for key, value in entry.note.items())
                self.console.print(f"{name} accepted {entry.bytes:,} bytes: {what}", soft_wrap=True)

    def files(self, files: Sequence[Path]) -> None:
        """Where to look."""
        self.console.print("Files to look at:")
        for file in files:
            self.console.print(f"  {file}", soft_wrap=True)


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
            progress = order.scan["progress"] if order.order["state"] == "running" else {}
            total, done = (
                (1, 1) if order.ended else (progress.get("total") or None, progress.get("done", 0))
            )
            self._progress.update(task, total=total, completed=done, now=_now(order))


class Lines:
    """A line per order whenever its state or stage changes."""

    def __init__(self, console: Console, orders: Sequence[Followed]) -> None:
        self._console, self._orders = console, orders
        self._said: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        self.show()
        return self

    def __exit__(self, *_: object) -> None:
        self.show()

    def show(self) -> None:
        """Say what has changed."""
        for order in self._orders:
            state = (order.order["state"], order.scan["state"])
            if self._said.get(order.title) != state:
                self._said[order.title] = state
                self._console.print(f"{order.title}: {_now(order)}")


def _now(order: Followed) -> str:
    scan, state = order.scan, order.order["state"]
    if state != "running":
        return str(state)
    progress = scan["progress"]
    eta = "" if progress["eta_s"] is None else f", {progress['eta_s']:.0f} s to go"
    counted = f" {progress['done']:,}/{progress['total']:,}" if progress["total"] else ""
    return f"{state}: {progress['stage'] or scan['state']}{counted}{eta}"


def _rows(orders: Sequence[Followed]) -> list[tuple[str, list[str]]]:
    rows = {
        "order": [order.order["id"] for order in orders],
        "states passed": [
            "\n".join(f"{at:5.1f} s {name}" for name, at in order.states.items())
            for order in orders
        ],
        "tiles": [_measured(order.scan["timings"], "tiles", "{:,.0f}") for order in orders],
        "classified in": [
            _measured(order.scan["timings"], "classify_s", "{:.1f} s") for order in orders
        ],
        "speed": [_speed(order.scan["timings"]) for order in orders],
        "nuclei": [_measured(order.scan["summary"], "nuclei", "{:,}") for order in orders],
        "labelling index": [
            _measured(order.scan["summary"], "labelling_index_pct", "{:.1f} %") for order in orders
        ],
    }
    problems = [_problem(order.order) for order in orders]
    return list((rows | {"problem": problems} if any(problems) else rows).items())


def _plain(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(value) if isinstance(value, list) else str(value)


def _measured(values: dict[str, Any], name: str, how: str) -> str:
    value = values.get(name)
    return "–" if value is None else how.format(value)


def _speed(timings: dict[str, Any]) -> str:
    took_s = timings.get("classify_s")
    return f"{timings.get('tiles', 0) / took_s:.1f} tiles/s" if took_s else "–"


def _problem(order: dict[str, Any]) -> str:
    problem = order.get("error") or order["scans"][0].get("error") or {}
    return ": ".join(str(problem[key]) for key in ("code", "detail") if key in problem)
