"""What goes to a destination, and what one attempt came to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Payload:
    """The file whose exact bytes go to a destination."""

    content_type: str
    path: Path


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one delivery attempt came to.

    `accepted`: the destination confirmed. `refused`: it will not take these bytes. `later`: it did not take them, try
    again. `unknown`: they were sent and no answer came, so nobody knows until the destination is asked.
    """

    outcome: Literal["accepted", "refused", "later", "unknown"]
    status: int | None = None
    detail: str = ""
    retry_after_s: float | None = None
    remote_id: str = ""
    at: float = field(default=0.0, compare=False)
