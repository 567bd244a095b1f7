"""Shows how far work is on stderr: a live bar on a terminal, plain lines elsewhere."""

import re
import time
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

_LINE_EVERY_S: Final = 10.0
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """Return the text without characters that change what a terminal shows."""
    return _CONTROL.sub("�", str(text))


class ProgressDisplay:
    """Shows one piece of work, which goes on in steps, each with a count and a remaining time."""

    def __init__(self, title: str) -> None:
        """Show nothing before the context is entered. `title` stands before every line."""
        self._title = printable(title)
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._bar: Progress | None = None
        self._step = ""
        self._first_done = 0
        self._step_began_at = 0.0
        self._said_at = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[now]}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task(self._title, total=None, now="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, step: str, done: int, total: int, eta_s: float | None = None) -> None:
        """Show how far the step is. `eta_s`: seconds left; None = by the speed of the step."""
        now = time.monotonic()
        is_new = step != self._step
        if is_new:
            self._step = step
            self._first_done = done
            self._step_began_at = now
        if eta_s is None:
            eta_s = self._eta_s(now, done, total)
        text = _text(step, done, total, eta_s)
        if self._bar:
            self._show_bar(text, done, total)
        elif is_new or now - self._said_at >= _LINE_EVERY_S:
            self._said_at = now
            self._console.print(f"{self._title}: {text}", soft_wrap=True)

    def line(self, text: str) -> None:
        """Print one line; the bar stays below it."""
        console = self._console
        if self._bar:
            console = self._bar.console
        console.print(printable(text), soft_wrap=True)

    def _show_bar(self, text: str, done: int, total: int) -> None:
        if self._bar is None:
            return
        known_total = None
        if total > 1:
            known_total = total
        task = self._bar.task_ids[0]
        self._bar.update(task, total=known_total, completed=done, now=text)

    def _eta_s(self, now: float, done: int, total: int) -> float | None:
        moved = done - self._first_done
        if moved <= 0 or total < done:
            return None
        return (now - self._step_began_at) / moved * (total - done)


def _text(step: str, done: int, total: int, eta_s: float | None) -> str:
    text = printable(step)
    if total > 1:
        text += f" {done:,}/{total:,}"
    if eta_s is not None and done < total:
        text += f", {_duration(eta_s)} to go"
    return text


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest_s} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 1:
        return f"{minutes} min {rest_s:02} s"
    return f"{hours} h {minutes:02} min"
