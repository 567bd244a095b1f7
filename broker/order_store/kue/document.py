"""A job of Kue as its clients read it: the document that the real Kue answers, from our record.

A field without a value is absent, never null. Times are texts of milliseconds since 1970.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.order_progress import order_progress
from broker.orders.order import Order, UnreadableOrder

_TIMES: Final = ("created_at", "promote_at", "updated_at", "failed_at", "started_at", "duration")
_COMPLETE: Final = "complete"
_FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class KueJob:
    """A job: the fields of its hash, its data in clear, and the order that it became."""

    number: int
    fields: Mapping[str, str]
    data: Any
    order: Order | UnreadableOrder | None = None

    @property
    def type(self) -> str:
        """The type of the job, by which the settings say what is ordered."""
        return self.fields["type"]

    @property
    def state(self) -> str:
        """The state, in Kue's words."""
        return self.fields["state"]

    @property
    def order_id(self) -> str:
        """The id of its order; empty where it could be none."""
        return self.fields.get("order", "")

    @property
    def is_told(self) -> bool:
        """Whether its events are published."""
        return self.fields.get("told") == "1"

    @property
    def percent(self) -> int:
        """How much of its order is done, in whole percent."""
        if self.state == _COMPLETE:
            return 100
        if not isinstance(self.order, Order):
            return 0
        return int(order_progress(self.order).percent)

    @property
    def progress_data(self) -> dict[str, Any] | None:
        """The step that its order is at; None before any progress."""
        if self.percent == 0 or not isinstance(self.order, Order):
            return None
        progress = order_progress(self.order)
        return {"order": self.order.id, "stage": progress.stage, "eta_s": progress.eta_s}

    @property
    def result(self) -> dict[str, Any] | None:
        """What was found, once it is delivered."""
        if self.state != _COMPLETE or not isinstance(self.order, Order):
            return None
        scans = [{"id": scan.id, "summary": scan.summary} for scan in self.order.scans]
        return {"order": self.order.id, "scans": scans}

    @property
    def error(self) -> str | None:
        """Why it failed: a line that says what, and perhaps one that says what to do."""
        if self.state != _FAILED:
            return None
        if isinstance(self.order, UnreadableOrder):
            return _text(self.order.problem.as_dict())
        if isinstance(self.order, Order):
            return _text(_cause(self.order))
        return self.fields.get("error")


def document(job: KueJob, shown_id: int | str) -> dict[str, Any]:
    """Return the job as Kue answers it. `shown_id`: a number in lists, the word of a path else."""
    made = int(job.fields.get("attempts", "0"))
    most = int(job.fields.get("max_attempts", "1"))
    remaining = most
    if made > 0:
        remaining = max(0, most - made)
    progress: int | str = 0
    if job.percent > 0:
        progress = str(job.percent)
    whole = {
        "id": shown_id,
        "type": job.type,
        "data": job.data,
        "result": job.result,
        "priority": int(job.fields["priority"]),
        "progress": progress,
        "progress_data": job.progress_data,
        "state": job.state,
        "error": job.error,
    }
    whole |= {name: job.fields.get(name) for name in _TIMES}
    whole["updated_at"] = _updated_at(job)
    whole |= {name: job.fields.get(name) for name in ("delay", "workerId", "ttl")}
    whole["attempts"] = {"made": made, "remaining": remaining, "max": most}
    return {name: value for name, value in whole.items() if value is not None}


def hash_fields(job: KueJob) -> dict[str, str]:
    """Return the fields of Kue's own hash of a job, `q:job:NUMBER`."""
    shown = document(job, job.number)
    attempts = shown.pop("attempts")
    del shown["id"]
    if job.percent == 0:
        del shown["progress"]
    fields = {}
    for name, value in shown.items():
        if name in ("data", "result", "progress_data"):
            fields[name] = json.dumps(value)
        else:
            fields[name] = str(value)
    fields["max_attempts"] = str(attempts["max"])
    if attempts["made"]:
        fields["attempts"] = str(attempts["made"])
    return fields


def _updated_at(job: KueJob) -> str:
    """Return when the job or its order changed last, in ms as a text."""
    changed_ms = int(job.fields["updated_at"])
    if isinstance(job.order, Order):
        changed_ms = max(changed_ms, int(job.order.updated_at * 1000))
    return str(changed_ms)


def _cause(order: Order) -> Mapping[str, Any]:
    """Return the problem of an order that failed; where a scan failed, that of the scan."""
    problem = order.error or {"code": order.state.value, "detail": ""}
    if problem["code"] != "scan_failed":
        return problem
    return next((scan.error for scan in order.scans if scan.error), problem)


def _text(problem: Mapping[str, Any]) -> str:
    lines = [f"{problem['code']}: {problem.get('detail', '')}"]
    if problem.get("hint"):
        lines.append(f"hint: {problem['hint']}")
    return "\n".join(lines)
