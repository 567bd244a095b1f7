"""Runs the merger of masks on class maps and probabilities that a test makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from tests.support.slide_server import Listener
from worker.algorithms.output_settings import MaskSettings
from worker.geometry.frame import Area, Frame
from worker.geometry.tile_grid import Grid, tile_grid
from worker.inference.merging.mask.merger import MaskMerger
from worker.inference.merging.merger import Merged, MergerFiles
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects, joined
from worker.results.result import Findings, Result

BACKGROUND = 0
COLORS = ("#808080", "#009e73", "#d55e00", "#0072b2")


def mask_card(names: Sequence[str] = ("other", "gland", "tumor"), **changed: Any) -> AlgorithmCard:
    """A card whose first class is the background, where there are several."""
    several = len(names) > 1
    classes = tuple(
        ClassCard(
            name=name, color=COLORS[number], annotation_type=name, background=several and not number
        )
        for number, name in enumerate(names)
    )
    usual = {"mpp": 1.0, "tile_px": 8, "halo_px": 0, "overlap_px": 0, "tissue_only": False}
    return AlgorithmCard(
        name="glands",
        version="1",
        digest="0" * 64,
        title="Glands",
        description="",
        output="mask",
        classes=classes,
        parameters={},
        **(usual | changed),
    )


@dataclass
class MaskCase:
    """A mask whose pixels the test knows. `mpp` is the slide's; the card works at 1."""

    pixels: NDArray[Any]
    """(H, W) class numbers of the whole mask, or (K, H, W) probabilities, at the card's mpp."""
    card: AlgorithmCard = field(default_factory=mask_card)
    settings: MaskSettings = field(default_factory=MaskSettings)
    mpp: float = 1.0
    area: Area | None = None
    skipped: frozenset[int] = frozenset()
    crop_px: int = 0
    folder: Path = Path()

    @property
    def frame(self) -> Frame:
        height, width = self.pixels.shape[-2:]
        scale = 1 / self.mpp
        return Frame(round(width * scale), round(height * scale), self.mpp, self.mpp, "slide")

    @property
    def grid(self) -> Grid:
        frame = self.frame
        area = self.area or Area(0, 0, frame.width, frame.height)
        grid = tile_grid(area, frame, self.card)
        kept = [
            number for number, index in enumerate(grid.tiles.indices) if index not in self.skipped
        ]
        tiles = type(grid.tiles)(
            grid.tiles.x,
            grid.tiles.y,
            grid.tiles.step_x,
            grid.tiles.step_y,
            grid.tiles.columns,
            grid.tiles.indices[kept],
            grid.tiles.overlap_x,
            grid.tiles.overlap_y,
        )
        return Grid(
            grid.area, grid.tile_px, grid.halo_px, grid.downsample_x, grid.downsample_y, tiles,
            grid.overlap_px,
        )  # fmt: skip

    def answers(self, grid: Grid) -> list[NDArray[Any]]:
        """What a network that sees these pixels answers for each tile."""
        stride = self.settings.output_stride
        around = grid.halo_px - self.crop_px
        edge = grid.tile_px + 2 * around
        pad = edge + grid.tile_px
        widths = [(0, 0)] * (self.pixels.ndim - 2) + [(pad, pad), (pad, pad)]
        padded = np.pad(self.pixels, widths)
        found = []
        for tile in grid.tiles:
            x = round(tile.x * self.mpp) - around + pad
            y = round(tile.y * self.mpp) - around + pad
            found.append(padded[..., y : y + edge : stride, x : x + edge : stride])
        return found

    def merger(self, folder: Path, state: bytes = b"") -> MaskMerger:
        folder.mkdir(parents=True, exist_ok=True)
        return MaskMerger(
            self.grid, self.card, self.settings, self.frame, MergerFiles(folder, state), Listener()
        )

    def merged(self, folder: Path, batch: int = 3, stop_at: int | None = None) -> Merged:
        """Merge in batches; with `stop_at` another merger takes over after so many tiles."""
        grid = self.grid
        answers = self.answers(grid)
        merger = self.merger(folder / "merging")
        done = 0
        while done < len(grid.tiles):
            if done == stop_at:
                state = merger.state()
                for number in range(done, min(done + 2, len(answers))):
                    merger.place([grid.tiles[number]], answers[number][None])
                merger = self.merger(folder / "merging", state)
            stop = min(done + batch, len(grid.tiles))
            if stop_at is not None and done < stop_at:
                stop = min(stop, stop_at)
            merger.place(list(grid.tiles[done:stop]), np.stack(answers[done:stop]))
            done = stop
        found = ObjectStore.begin(folder / "found")
        return merger.finish(found)


def all_objects(merged: Merged) -> Objects:
    return joined(list(merged.objects.chunks()))


def polygons_of(objects: Objects) -> list[shapely.Polygon]:
    holes = objects.holes or ((),) * len(objects)
    return [
        shapely.Polygon(outline, rings)
        for outline, rings in zip(objects.outlines, holes, strict=True)
    ]


def painted(objects: Objects, shape: tuple[int, int], scale: float = 1.0) -> NDArray[np.int64]:
    """The class plus 1 of each pixel by its centre, 0 where no polygon is; polygons are apart."""
    y, x = (np.mgrid[: shape[0], : shape[1]] + 0.5) * scale
    found = np.zeros(shape, np.int64)
    for polygon, number in zip(polygons_of(objects), objects.classes.tolist(), strict=True):
        assert polygon.is_valid, shapely.is_valid_reason(polygon)
        inside = shapely.contains_xy(polygon, x, y)
        assert not found[inside].any()
        found[inside] = number + 1
    return found


def mask_result(case: MaskCase, merged: Merged) -> Result:
    """The result of one scan whose mask was merged."""
    area = case.area or Area(0, 0, case.frame.width, case.frame.height)
    findings = Findings(
        case.frame, area, merged.objects, dict(merged.summary or {}), merged.headline
    )
    return Result("ord-1", "1", case.card, {}, findings, {"slide_digest": "ab" * 32})
