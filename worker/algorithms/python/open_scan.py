"""What the worker offers of a scan to the process that runs a site's code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from slidelane.algorithms import Roi
from worker.geometry.frame import Area, Frame, Pixels
from worker.slides.sandbox.shared_memory import SharedPixels


class Waiting(Protocol):
    """Somebody who waits for an answer."""

    stall_limit_s: float

    @property
    def still_s(self) -> float:
        """Seconds since the work moved on."""

    def check(self) -> None:
        """Raise StopWork if the work must end."""


class OpenScan(Waiting, Protocol):
    """A scan whose slide is open. Names without a word here mean what they do in `Context`."""

    order_id: str
    scan_id: str
    labels: Mapping[str, str]
    stain: str
    folder: Path
    width: int
    height: int
    mpp_x: float | None
    mpp_y: float | None
    path: Path
    """The slide's file."""
    frame: Frame
    area: Area
    shared: SharedPixels | None
    """None where the slide is read in this process."""

    @property
    def roi(self) -> Roi:
        """The area that was ordered."""

    @property
    def still_s(self) -> float:
        """Seconds since the work moved on."""

    def moved(self) -> None:
        """Note that the work moves on."""

    def read(
        self, x: float, y: float, width_px: int, height_px: int, mpp: float | None = None
    ) -> Pixels:
        """Return the pixels from level-0 (x, y) on, uint8 (height_px, width_px, 3)."""

    def progress(self, done: int, total: int) -> None:
        """Say how far the work is. Raises StopWork."""

    def warn(self, code: str, detail: str) -> None:
        """Add a warning to the result."""

    def begin_tiles(self, mpp: float, size_px: int, halo_px: int, *, tissue_only: bool) -> int:
        """Begin to read the squares of the area; return a number to go on with."""

    def next_tile(self, number: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the fields of the next square, None after the last one, and its pixels."""
