"""An order and its scans as they are stored: their fields, their states and the legal moves."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.errors import Problem
from broker.orders.request import OrderRequest, ScanRequest

Stage = Literal["fetch", "classify", "deliver"]
MAX_TIME_S: Final = 253_402_300_800
"""The first second of the year 10000, which no calendar of ours can show."""


class OrderState(StrEnum):
    """The states of an order."""

    QUEUED = "queued"  # accepted and stored; no scan is claimed yet
    RUNNING = "running"  # at least one scan was claimed
    DELIVERING = "delivering"  # every scan is classified; the results are being delivered
    DELIVERED = "delivered"  # the destination confirmed
    FAILED = "failed"  # a scan failed; the results of the others are kept
    UNDELIVERED = "undelivered"  # the destination refused, or it is unknown; results are kept
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ScanState(StrEnum):
    """The states of a scan."""

    QUEUED = "queued"  # waits for a courier
    FETCHING = "fetching"  # a courier downloads the slide
    STAGED = "staged"  # the slide is in the cache; the scan waits for a worker
    CLASSIFYING = "classifying"  # a worker holds it
    CLASSIFIED = "classified"  # its results are kept
    FAILED = "failed"
    CANCELLED = "cancelled"


_O = OrderState
_S = ScanState
TRANSITIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "order": {
        _O.QUEUED: (_O.RUNNING, _O.FAILED, _O.CANCELLED, _O.EXPIRED),
        _O.RUNNING: (_O.DELIVERING, _O.FAILED, _O.CANCELLED, _O.EXPIRED),
        _O.DELIVERING: (_O.DELIVERED, _O.UNDELIVERED, _O.CANCELLED),
        _O.DELIVERED: (),
        _O.FAILED: (),
        _O.UNDELIVERED: (),
        _O.CANCELLED: (),
        _O.EXPIRED: (),
    },
    "scan": {
        _S.QUEUED: (_S.FETCHING, _S.FAILED, _S.CANCELLED),
        _S.FETCHING: (_S.STAGED, _S.QUEUED, _S.FAILED, _S.CANCELLED),
        _S.STAGED: (_S.CLASSIFYING, _S.FAILED, _S.CANCELLED),
        _S.CLASSIFYING: (_S.CLASSIFIED, _S.STAGED, _S.FAILED, _S.CANCELLED),
        _S.CLASSIFIED: (),
        _S.FAILED: (),
        _S.CANCELLED: (),
    },
}
"""Which state may follow which. The Lua scripts in `broker/order_store/lua` get this table."""

REOPENED: dict[str, dict[str, tuple[str, ...]]] = {
    "order": {
        _O.FAILED: (_O.QUEUED,),
        _O.EXPIRED: (_O.QUEUED,),
        _O.CANCELLED: (_O.QUEUED, _O.DELIVERING),
        _O.UNDELIVERED: (_O.DELIVERING,),
        _O.DELIVERED: (_O.DELIVERING,),
    },
    "scan": {
        _S.FAILED: (_S.QUEUED, _S.STAGED),
        _S.CANCELLED: (_S.QUEUED, _S.STAGED),
    },
}
"""Which state may follow an end, at a caller's request only: retry, and deliver again.

A scan that was to judge its case is staged, for it is encoded; any other is fetched again.
"""

ENDED = frozenset(state for state, after in TRANSITIONS["order"].items() if not after)
SCAN_ENDED = frozenset(state for state, after in TRANSITIONS["scan"].items() if not after)


class _Stored(BaseModel):
    """A part of the record; fields of a newer version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Progress(_Stored):
    """How far a scan is. `eta_s` is computed from the speed so far."""

    stage: str = ""
    done: int = 0
    total: int = 0
    eta_s: float | None = None


class ScanWarning(_Stored):
    """A reason to doubt a result that was delivered all the same; `code` is stable."""

    code: str
    detail: str


class Scan(_Stored):
    """One scan as it is stored."""

    index: int
    id: str
    state: ScanState
    fence: int = 0
    attempts: int = 0
    worker: str = ""
    progress: Progress = Progress()
    timings: dict[str, float] = Field(default_factory=dict)
    summary: dict[str, Any] = Field(default_factory=dict)
    error: dict[str, Any] | None = None
    slide: dict[str, Any] = Field(
        default_factory=dict, description="digest, bytes and place in the slide cache"
    )
    looked_at: dict[str, Any] = Field(
        default_factory=dict,
        description="the same of a slide that somebody looked at before it was ordered",
    )
    staged_by: int = Field(
        0, description="fence of the fetch; a checkpoint made before that fetch is not used"
    )
    started_at: float | None = Field(None, description="when it was last taken to be classified")
    ended_at: float | None = None
    result: str = Field("", description="folder of its results: a key of the storage")
    files: tuple[str, ...] = Field(
        (), description="files of its results that only some algorithms make"
    )
    kept: str = Field(
        "", description="folder with the `files` of an attempt that failed: a key of the storage"
    )
    warnings: tuple[ScanWarning, ...] = ()
    judges_case: bool = Field(
        False, description="it is encoded as the last of its order, and waits to judge the case"
    )
    fetch_attempts: int = Field(0, description="how often a courier took it, for whatever end")
    classify_attempts: int = Field(0, description="how often a worker took it, for whatever end")

    def last_task(self, order_id: str) -> str | None:
        """Return the id of the Celery task of its last attempt, None before its first."""
        work = work_id(order_id, self.index)
        if self.classify_attempts:
            return task_id(work, "classify", self.classify_attempts)
        if self.fetch_attempts:
            return task_id(work, "fetch", self.fetch_attempts)
        return None


class Attempt(_Stored):
    """One delivery attempt. docs/orders.md has the words of `outcome`."""

    at: float = Field(ge=0, lt=MAX_TIME_S)
    digest: str
    status: int | None = None
    outcome: str = "unknown"
    error: str = ""
    took_s: float | None = Field(
        None, description="until its outcome was written; None while it runs, or if it was lost"
    )
    remote_id: str = Field("", description="what the destination calls the job that it made")
    follow_up: bool = Field(
        False, description="the results arrived, and what is to follow them may not be done yet"
    )
    warnings: tuple[ScanWarning, ...] = Field(
        (), description="what was to follow the results and did not succeed"
    )

    @property
    def is_uncertain(self) -> bool:
        """Whether it is over and the destination is still asked if it arrived or was imported."""
        return self.outcome in ("unknown", "queued") and self.took_s is not None


class Act(_Stored):
    """What somebody asked of an order, and who: the name of the API key."""

    at: float = Field(ge=0, lt=MAX_TIME_S)
    act: str
    by: str


class Order(_Stored):
    """One order as it is stored. Times are seconds since 1970, by Redis' clock.

    Once it is delivered, the destination of `request` is `none`, because its credentials are gone;
    `shown_destination` still says where the results went.
    """

    id: str
    state: OrderState
    request: OrderRequest
    shown_destination: dict[str, Any] = Field(
        default_factory=lambda: {"type": "none"}, description="the destination without its secrets"
    )
    queue: str
    created_by: str = Field("", description="name of the API key it came with")
    acts: tuple[Act, ...] = Field((), description="the last requests to change it, oldest first")
    created_at: float
    updated_at: float
    expires_at: float
    cancel: bool = False
    resend: bool = Field(
        False, description="somebody asked to deliver it again, knowing that it may have arrived"
    )
    fence: int = 0
    scans: tuple[Scan, ...]
    attempts: tuple[Attempt, ...] = ()
    attempts_before: int = Field(
        0, description="how many attempts were made before it got the destination it has now"
    )
    payload: dict[str, Any] = Field(
        default_factory=dict,
        description="file (a key of the storage), digest, bytes and content type",
    )
    error: dict[str, Any] | None = None

    def scan_request(self, index: int) -> ScanRequest:
        """Return the request of scan number `index`."""
        return self.request.scans[index]

    @property
    def last_attempt(self) -> Attempt | None:
        """Return the last delivery attempt at the destination that the order has now."""
        if len(self.attempts) <= self.attempts_before:
            return None
        return self.attempts[-1]


class UnreadableOrder(_Stored):
    """What can be read of an order whose record is damaged, encrypted or of a newer version."""

    id: str
    state: OrderState | None = None
    created_at: float | None = None
    updated_at: float | None = None
    expires_at: float | None = None
    problem: Problem

    @property
    def has_ended(self) -> bool:
        """Return whether the order is known to have ended."""
        return self.state in ENDED


def work_id(order_id: str, index: int | None = None) -> str:
    """Return the id in a task message: `ORDER.INDEX` for a scan, `ORDER` for its delivery."""
    if index is None:
        return order_id
    return f"{order_id}.{index}"


def parse_work_id(work: str) -> tuple[str, int | None]:
    """Return the order's id and the scan's number, which is None for a delivery."""
    order_id, dot, index = work.partition(".")
    if not dot:
        return order_id, None
    return order_id, int(index)


def task_id(work: str, stage: Stage, attempt: int) -> str:
    """Return the id of the Celery task for one attempt at a stage: `ORDER.SCAN:stage:attempt`.

    For a delivery it is `ORDER:deliver:attempt`. It names the attempt and not the message: when
    a message is sent again, because it was lost, the attempt keeps its id.
    """
    return f"{work}:{stage}:{attempt}"


def attempt_of(identifier: str, work: str, stage: Stage) -> int | None:
    """Return the number of the attempt in a task id of this work and stage, None in another id."""
    prefix, _, number = identifier.rpartition(":")
    if prefix != f"{work}:{stage}" or not number.isdecimal():
        return None
    return int(number)


Bottleneck = Literal["fetch", "read", "model", "write"]


_STAGES: Final[Mapping[Bottleneck, tuple[str, ...]]] = {
    "fetch": ("fetch_s",),
    "read": ("open_s", "tissue_s", "read_s"),
    "model": ("load_s", "calibrate_s", "model_s"),
    "write": ("merge_s", "keep_s"),  # `keep_s` includes waiting for the overlay
}
"""The timings that each of the four names sums up."""


_LAST: Final = "keep_s"
"""The timing that is written last."""


def bottleneck(timings: Mapping[str, float]) -> Bottleneck | None:
    """Return what a scan spent most of its time on, or None before it is classified."""
    if _LAST not in timings:
        return None
    return max(_STAGES, key=lambda name: sum(timings.get(stage, 0.0) for stage in _STAGES[name]))
