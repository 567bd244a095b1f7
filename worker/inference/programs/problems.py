"""What the end of a program means: results with warnings, or a failure and its reason."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.errors import OrderError
from broker.orders.order import ScanWarning
from worker.algorithms.answer_error import AlgorithmAnswerError, AlgorithmRaisedError
from worker.programs.run import Program, ProgramOutcome

_LOOK: Final = "the scan's output.log has what the program printed"
_LIMITS: Final[Mapping[str, str]] = {
    "time_limit": "at its time limit",
    "memory": "because of its memory",
    "disk": "because it filled the disk",
}
_LINE_CHARS: Final = 200
_MOST_HOSTS: Final = 3


class ProgramFailedError(OrderError):
    """A program gave no results. `files` are what is kept of the run, by their names."""

    def __init__(self, problem: OrderError, files: Mapping[str, Path]) -> None:
        super().__init__(
            problem.code, problem.detail, hint=problem.hint, field=problem.field, blame="algorithm"
        )
        self.files = files


def problem_of(
    outcome: ProgramOutcome, program: Program, *, has_results: bool
) -> OrderError | None:
    """Return why a run has failed; None for one with results, whatever its exit code."""
    if has_results:
        return None
    if outcome.ended_by in _LIMITS:
        return _problem_of_limit(outcome, program)
    if outcome.received.refusals:
        return AlgorithmAnswerError(
            f"what the program posted was refused: {outcome.received.refusals[-1]}",
            hint=f"Techcyte would refuse it, too; {_LOOK}",
        )
    end = f"the program {_end(outcome.exit_code)} and posted no results{_wanted(outcome)}"
    if outcome.last_line:
        end = f"{end}; the last that it printed: {outcome.last_line[:_LINE_CHARS]}"
    if outcome.exit_code:
        return AlgorithmRaisedError(end, hint=_LOOK)
    return AlgorithmAnswerError(end, hint=_LOOK)


def _problem_of_limit(outcome: ProgramOutcome, program: Program) -> OrderError:
    """Return why a program without results was ended."""
    if outcome.ended_by == "time_limit":
        return OrderError(
            "time_limit",
            f"the program had posted no results after {program.time_limit_s:g} s, which is its "
            "limit, and was ended",
            hint=f"raise time_limit_s of the algorithm; {_LOOK}",
        )
    if outcome.ended_by == "memory":
        return OrderError(
            "out_of_memory",
            "the program took more memory than it may, and was ended before it had posted results",
            hint=f"give it a class with more memory; {_LOOK}",
        )
    return OrderError(
        "algorithm_raised",
        "the program filled the disk, and was ended before it had posted results",
        hint=f"make room on the disk of broker.data, or have it write less; {_LOOK}",
    )


def warnings_of(outcome: ProgramOutcome) -> list[ScanWarning]:
    """Return what is to be known of a run with results."""
    warnings = []
    if outcome.ended_by in _LIMITS:
        detail = f"the program had posted results, and was ended {_LIMITS[outcome.ended_by]}"
        warnings.append(ScanWarning(code="program_exit_code", detail=detail))
    elif outcome.exit_code:
        detail = f"the program had posted results, and {_end(outcome.exit_code)}"
        warnings.append(ScanWarning(code="program_exit_code", detail=detail))
    if outcome.received.posts > 1:
        detail = f"the program posted results {outcome.received.posts} times; the first ones count"
        warnings.append(ScanWarning(code="program_posted_again", detail=detail))
    if outcome.received.unreachable:
        detail = f"the program wanted to reach {_hosts(outcome)}, and may not"
        warnings.append(ScanWarning(code="program_host_refused", detail=detail))
    return warnings


def _end(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by signal {-exit_code}"
    return f"ended with exit code {exit_code}"


def _wanted(outcome: ProgramOutcome) -> str:
    if not outcome.received.unreachable:
        return ""
    return f"; it wanted to reach {_hosts(outcome)}, and may not"


def _hosts(outcome: ProgramOutcome) -> str:
    hosts = sorted(outcome.received.unreachable)
    shown = ", ".join(hosts[:_MOST_HOSTS])
    if len(hosts) > _MOST_HOSTS:
        shown = f"{shown} and {len(hosts) - _MOST_HOSTS} more"
    return shown
