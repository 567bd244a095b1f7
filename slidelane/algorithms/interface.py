"""What an algorithm is given, what it answers, and how it is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from slidelane.algorithms.card import Card

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    Floats: TypeAlias = NDArray[np.floating[Any]]

API_VERSION: Final = "1"


class Stop(BaseException):
    """The order was cancelled. Let it pass; `finally` blocks run."""


def _no_measurements() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class Found:
    """One object.

    `x` and `y` are its centre. A `TileModel` counts them in pixels of the tile as it was read,
    origin at the corner of the halo; an `ImageFunction` in level-0 pixels. `kind` is the number or
    the name of its class, `score` 0 to 1. `outline` is a ring of at least three points, a
    sequence or an array (points, 2), which need not be closed; None stands for a square.
    """

    x: float
    y: float
    kind: int | str
    score: float = 1.0
    outline: Sequence[tuple[float, float]] | Floats | None = None
    measurements: Mapping[str, float] = field(default_factory=_no_measurements)


def _no_summary() -> Mapping[str, Any]:
    return {}


def _no_files() -> Mapping[str, Path]:
    return {}


@dataclass(frozen=True, slots=True)
class Result:
    """What an `ImageFunction` may answer, in level-0 pixels.

    `objects` and `geojson` are both results. `summary` is figures fit for JSON, `headline` one line
    for people, `files` are further results by name, which lie in `context.folder`, and `warnings`
    are pairs of a code and what is doubtful.
    """

    objects: Sequence[Found] = ()
    geojson: Mapping[str, Any] | None = None
    summary: Mapping[str, Any] = field(default_factory=_no_summary)
    headline: str = ""
    files: Mapping[str, Path] = field(default_factory=_no_files)
    warnings: Sequence[tuple[str, str]] = ()


class Roi(Protocol):
    """The area that was ordered, in level-0 pixels."""

    box: tuple[int, int, int, int]
    """Left, top, width and height of the box around it."""
    polygon: Sequence[tuple[float, float]]
    """The outline, not closed; empty for a box. Of several polygons it is the first."""
    area_px2: float
    """Its size in square level-0 pixels, holes left out."""

    def contains(self, x: float, y: float) -> bool:
        """Return whether the point lies in it. Left and top edges of a box count as inside."""


class ContextTile(Protocol):
    """One square of the slide that `Context.tiles` yields."""

    number: int
    count: int
    x: float
    """Left edge of the square without its halo, in level-0 pixels."""
    y: float
    """Top edge."""
    pixels: Pixels
    """uint8, (size_px + 2 halo_px, size_px + 2 halo_px, 3)."""

    def level0(self, ring: Sequence[tuple[float, float]]) -> list[list[float]]:
        """Return points in pixels of the tile, halo included, as level-0 pixels."""


class Context(Protocol):
    """One scan, as an algorithm sees it. Its methods may be called from any thread."""

    order_id: str
    scan_id: str
    parameters: Mapping[str, Any]
    """The order's, with defaults filled in."""
    labels: Mapping[str, str]
    stain: str
    """What the order says; empty where it says nothing."""
    device: str
    folder: Path
    """For files of the algorithm; it is removed after the scan."""
    width: int
    height: int
    mpp_x: float | None
    mpp_y: float | None
    roi: Roi
    samples: Pixels
    """Up to 12 tiles of the tissue, (n, E, E, 3), without halo; none for an `ImageFunction`."""

    def read(
        self, x: float, y: float, width_px: int, height_px: int, mpp: float | None = None
    ) -> Pixels:
        """Return the pixels from level-0 (x, y) on, uint8 (height_px, width_px, 3).

        `mpp`: microns per pixel to read at; None reads level 0. Outside the slide is white.
        """

    def tiles(
        self, mpp: float, size_px: int, *, halo_px: int = 0, tissue_only: bool = True
    ) -> Iterator[ContextTile]:
        """Yield the squares of the area, row by row."""

    def progress(self, done: int, total: int) -> None:
        """Say how far the work is. Raises Stop when the order was cancelled."""

    def log(self, line: str) -> None:
        """Write a line to the scan's `output.log`."""

    def warn(self, code: str, detail: str) -> None:
        """Add a warning to the result."""


class TileModel(Protocol):
    """An algorithm that is fed tiles. The class named by `entry` is made without arguments, once.

    Only `card` and `classify` are needed. Optional are

    - `load(device)`, called once: `cpu` or `cuda:0`;
    - `prepare(context)`, called before each scan, with `context.samples`;
    - `summarise(counts, context)`, which returns figures and a headline;
    - `threads`, how many threads may be in `classify` at the same time; 1 unless it is stated.
    """

    card: Card

    def classify(self, batch: Pixels) -> Any:
        """Return the answers for a batch, uint8 (n, input_px, input_px, 3), n = 1 to `card.batch`.

        The batch is overwritten afterwards. By `card.output`: `tiles` floats (n, K), probabilities;
        `mask` whole numbers (n, E, E) or probabilities (n, K, E, E); `objects` n sequences of
        `Found`; `embeddings` floats (n, D).
        """


class ImageFunction(Protocol):
    """An algorithm that is given a slide. `entry` names the function itself.

    Its card is the function's attribute `card`, else `CARD` of its module.
    """

    def __call__(self, path: str, context: Context) -> Any:
        """Return GeoJSON, Techcyte's body, a list of `Found`, a `Result`, or a file's path."""
