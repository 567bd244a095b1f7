"""What is sent to a destination, and the outcome of one attempt to send it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["accepted", "queued", "refused", "later", "unknown"]


@dataclass(frozen=True, slots=True)
class Payload:
    """The file whose exact bytes are sent to a destination."""

    content_type: str
    path: Path


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of one delivery attempt.

    `accepted`: the destination confirmed that it has the results.
    `queued`: it has them and will import them later; its importer is asked until it has done so.
    `refused`: it will not take these bytes.
    `later`: it did not take them; another attempt may succeed.
    `unknown`: they were sent, and no answer came or not the documented one; only the destination
    can say whether they arrived.

    `remote_id` is what the destination calls the job that it made of them.
    """

    outcome: Outcome
    status: int | None = None
    detail: str = ""
    retry_after_s: float | None = None
    remote_id: str = ""
