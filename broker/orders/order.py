"""What is kept: an order and its scans as the record has them, their states, and which moves are legal."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.orders.request import OrderRequest, ScanRequest

Stage = Literal["fetch", "classify", "deliver"]


class OrderState(StrEnum):
    """The life of an order."""

    QUEUED = "queued"  # accepted and kept; no scan taken yet
    RUNNING = "running"  # at least one scan was taken
    DELIVERING = "delivering"  # every scan is classified; the results go out
    DELIVERED = "delivered"  # the destination confirmed
    FAILED = "failed"  # a scan failed; what the others found is kept
    UNDELIVERED = "undelivered"  # the results are kept; the destination refused, or nobody can say
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ScanState(StrEnum):
    """The life of a scan."""

    QUEUED = "queued"  # waits for a courier
    FETCHING = "fetching"  # a courier brings the slide near
    STAGED = "staged"  # the slide is here; waits for a worker
    CLASSIFYING = "classifying"  # a worker has it
    CLASSIFIED = "classified"  # its findings are kept
    FAILED = "failed"
    CANCELLED = "cancelled"


_O, _S = OrderState, ScanState
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
"""Who may follow whom; the same table rules in Redis (`broker/order_store/lua/life.lua`)."""

REOPENED: dict[str, dict[str, tuple[str, ...]]] = {
    "order": {
        _O.FAILED: (_O.QUEUED,),
        _O.EXPIRED: (_O.QUEUED,),
        _O.CANCELLED: (_O.QUEUED, _O.DELIVERING),
        _O.UNDELIVERED: (_O.DELIVERING,),
    },
    "scan": {_S.FAILED: (_S.QUEUED,), _S.CANCELLED: (_S.QUEUED,)},
}
"""The ways out of an end, taken only when somebody asks: retry, and deliver again."""

ENDED = frozenset(state for state, next_states in TRANSITIONS["order"].items() if not next_states)
SCAN_ENDED = frozenset(
    state for state, next_states in TRANSITIONS["scan"].items() if not next_states
)


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Progress(_Kept):
    """How far a scan is. `eta_s` is from the speed so far."""

    stage: str = ""
    done: int = 0
    total: int = 0
    eta_s: float | None = None


class Scan(_Kept):
    """One scan as it is kept."""

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
        default_factory=dict, description="digest, bytes and where on the shelf"
    )
    staged_by: int = Field(
        0, description="fence of the fetch: what was found before it is gone on from by nobody"
    )
    result: str = Field("", description="folder of its results, a key of the storage")


class Attempt(_Kept):
    """One try at the destination."""

    at: float
    digest: str
    status: int | None = None
    outcome: str = "unknown"
    error: str = ""


class Order(_Kept):
    """One order as it is kept. Times are Redis' clock, seconds since 1970."""

    id: str
    state: OrderState
    request: OrderRequest
    queue: str
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
    parcel: dict[str, Any] = Field(
        default_factory=dict,
        description="file (a key of the storage), digest, bytes and content type",
    )
    error: dict[str, Any] | None = None

    def asked(self, index: int) -> ScanRequest:
        """What was asked for scan number `index`."""
        return self.request.scans[index]


def work_id(order_id: str, index: int | None = None) -> str:
    """The id a hint carries: `ORDER.INDEX` for a scan, `ORDER` for its delivery."""
    return order_id if index is None else f"{order_id}.{index}"


def parse_work_id(work: str) -> tuple[str, int | None]:
    """The order's id and, where it is a scan's, the scan's number."""
    order_id, dot, index = work.partition(".")
    return (order_id, int(index)) if dot else (order_id, None)


Bottleneck = Literal["fetch", "read", "model", "write"]


_STAGES: Final[Mapping[Bottleneck, tuple[str, ...]]] = {
    "fetch": ("fetch_s",),
    "read": ("open_s", "tissue_s", "read_s"),
    "model": ("load_s", "calibrate_s", "model_s"),
    "write": ("merge_s", "keep_s"),  # which waits for what is drawn beside it
}


_LAST: Final = "keep_s"


def bottleneck(timings: Mapping[str, float]) -> Bottleneck | None:
    """What a scan spent most of its time on; None before it is classified."""
    if _LAST not in timings:
        return None
    return max(_STAGES, key=lambda name: sum(timings.get(stage, 0.0) for stage in _STAGES[name]))
