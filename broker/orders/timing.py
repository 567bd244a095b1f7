"""Where the time of a scan went: which of the timings on record belong together, and which of them held it up."""

from collections.abc import Mapping
from typing import Final, Literal

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
