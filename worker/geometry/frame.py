"""The frozen values that travel along the bench. They import no service and know no library but numpy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]
Number = TypeVar("Number", bound=np.number[Any])
CHUNK: Final = 4096
"""Objects handled at a time, so that memory does not grow with their number."""
MppSource = Literal["slide", "tiff", "server", "order", "locator", "none"]
"""Whose word the microns per pixel are: the slide's, its TIFF tags', its image server's, the order's, the locator's."""


class Watch(Protocol):
    """Who hears how far the work is and says when it must stop."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Say how far `stage` is (bytes, tiles, …). Raises `Stop` when the work was cancelled or is no longer ours."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The level-0 canvas of a slide: pixels, x right, y down, origin top-left, half-open boxes."""

    width: int
    height: int
    mpp_x: float | None
    mpp_y: float | None
    mpp_source: MppSource
    bounds_x: int = 0
    bounds_y: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The frame as every result states it."""
        return {
            "frame": "level0",
            "width": self.width,
            "height": self.height,
            "bounds_offset": [self.bounds_x, self.bounds_y],
            "mpp_x": self.mpp_x,
            "mpp_y": self.mpp_y,
            "mpp_source": self.mpp_source,
        }


@dataclass(frozen=True, slots=True)
class Area:
    """A half-open box in level-0 pixels, wholly inside the slide; of it, what the `polygon` encloses."""

    x: int
    y: int
    width: int
    height: int
    polygon: tuple[tuple[float, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The area as every result states it."""
        box = {"x": self.x, "y": self.y, "width": self.width, "height": self.height}
        return box | ({"polygon": [list(point) for point in self.polygon]} if self.polygon else {})


class Readable(Protocol):
    """An open slide, wherever it is read: see `worker.slide.Slide`, which says what the methods do."""

    frame: Frame
    reader: str
    threads: int
    """Regions that are read at the same time at most."""

    def fill(self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float) -> None:
        """Write the pixels of a region at any resolution into `region`, (height_px, width_px, 3)."""

    def workspace(self, number: int, shape: tuple[int, ...]) -> Pixels:
        """Memory of this shape for thread `number` to read tiles into."""

    def fill_tiles(
        self, tiles: Pixels, corners: Sequence[tuple[float, float]], downsample_x: float, downsample_y: float
    ) -> None:
        """Write one square for each of the level-0 `corners` into `tiles`, (N, edge, edge, 3); see `fill`."""

    def overview(self, area: Area, max_px: int) -> Pixels:
        """A picture of the area, its longer side at most `max_px`."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Things found: N centres (x, y), N outlines of K >= 3 points (x, y; open rings), N class numbers, N scores 0..1.

    `probabilities`, where an algorithm gives them: (N, classes), of each class for each object.

    The frame is the caller's: pixels of one read tile (origin at the halo's corner) where an algorithm answers,
    level-0 pixels everywhere else.
    """

    centres: Floats
    outlines: tuple[Floats, ...]
    classes: Ints
    scores: Floats
    probabilities: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def __len__(self) -> int:
        return len(self.classes)

    def chunks(self) -> Iterator["Objects"]:
        """The same objects in order, some at a time."""
        for start in range(0, len(self), CHUNK):
            some = slice(start, start + CHUNK)
            rest = self.classes[some], self.scores[some], self.probabilities[some]
            yield Objects(self.centres[some], self.outlines[some], *rest)

    def counts(self, classes: int) -> list[int]:
        """How many objects each of the first `classes` classes has."""
        counts: list[int] = np.bincount(self.classes, minlength=classes).tolist()
        return counts


def outlines(points: NDArray[Number], lengths: Iterable[int]) -> Iterator[NDArray[Number]]:
    """Points that lie one behind another as the outlines that they belong to."""
    for start, stop in pairwise(accumulate(lengths, initial=0)):
        yield points[start:stop]


class Found(Protocol):
    """All objects of a scan in level-0 pixels, in memory or on disk, handed out some at a time and in order."""

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[Objects]:
        """At most `CHUNK` objects at a time."""

    def counts(self, classes: int) -> list[int]:
        """How many objects each of the first `classes` classes has."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that an algorithm says of one scan, in level-0 pixels."""

    frame: Frame
    area: Area
    objects: Found
    summary: dict[str, Any]
    headline: str


@dataclass(frozen=True, slots=True)
class Parcel:
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


class Stop(Exception):  # noqa: N818 - not an error: somebody asked
    """The work must end without a trace: it was cancelled, or its lease is lost."""
