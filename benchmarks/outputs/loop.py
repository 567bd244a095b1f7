"""The yardstick: the loop that a good engineer writes for one network and one slide.

A process for each core reads its share of the tiles, asks the same network in batches with one
thread, and takes what it answers apart; one process joins the shares and writes one file. It is
told which tiles to read, so it looks for no tissue, and it keeps all results in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import openslide
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from benchmarks.outputs.networks import CORE_PX
from worker.geometry.frame import Pixels
from worker.slides.slide import Slide

BATCH: Final = 16
THRESHOLD: Final = 0.5
_AROUND: Final = np.ones((3, 3), np.uint8)
Found = list[Any]
"""What a share found; its kind of output says what the entries are."""


@dataclass(frozen=True, slots=True)
class Share:
    """Tiles of one slide for one network.

    `folder` holds the network. `corners`: (N, 2), x and y of what is read, level-0 pixels, with
    `halo_px` around each core. `is_openslide`: whether OpenSlide reads the tiles, or our decoder.
    `scratch`: a folder for files that all shares write into.
    """

    slide: str
    folder: str
    output: str
    corners: NDArray[np.int64]
    halo_px: int
    is_openslide: bool
    scratch: str


def run(share: Share) -> Found:
    """Return what the network finds in these tiles."""
    torch.set_num_threads(1)
    loaded: Any = torch.jit.load(str(Path(share.folder) / "torchscript_model.pt"))
    network: Any = torch.jit.freeze(loaded.eval().to(memory_format=torch.channels_last))
    take = TAKERS[share.output]
    found: Found = []
    edge_px = CORE_PX + 2 * share.halo_px
    for corners, tiles in _batches(share, edge_px):
        with torch.inference_mode():
            pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2).float().mul_(1 / 255)
            take(network(pixels), corners, share, found)
    return found


def _batches(share: Share, edge_px: int) -> Iterator[tuple[NDArray[np.int64], Pixels]]:
    """Yield corners and pixels of the tiles, (N, 2) and (N, edge, edge, 3), batch by batch."""
    if share.is_openslide:
        with openslide.OpenSlide(share.slide) as slide:
            for corners in _divided(share.corners):
                regions = [
                    slide.read_region(corner, 0, (edge_px, edge_px)).convert("RGB")
                    for corner in corners.tolist()
                ]
                yield corners, np.stack([np.asarray(region) for region in regions])
        return
    with Slide.open(Path(share.slide)) as ours:
        for corners in _divided(share.corners):
            tiles = np.empty((len(corners), edge_px, edge_px, 3), np.uint8)
            places = [(float(x), float(y)) for x, y in corners.tolist()]
            ours.fill_tiles(tiles, places, 1.0, 1.0)
            yield corners, tiles


def _divided(corners: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(corners), BATCH):
        yield corners[start : start + BATCH]


def _take_tiles(answer: Tensor, corners: NDArray[np.int64], _share: Share, found: Found) -> None:
    """Add corner and probabilities of each tile."""
    probabilities = torch.softmax(answer, dim=1).numpy()
    found.extend(zip(corners.tolist(), probabilities.tolist(), strict=True))


def _take_vectors(answer: Tensor, corners: NDArray[np.int64], _share: Share, found: Found) -> None:
    """Add corners and vectors of the batch."""
    found.append((corners, answer.numpy()))


def _take_mask(answer: Tensor, corners: NDArray[np.int64], share: Share, found: Found) -> None:
    """Write class and probability of each pixel into files that hold the whole slide."""
    halo = share.halo_px
    core = answer[:, :, halo : halo + CORE_PX, halo : halo + CORE_PX]
    best, numbers = torch.softmax(core, dim=1).max(dim=1)
    classes = numbers.to(torch.uint8).numpy()
    likely = best.mul_(255).to(torch.uint8).numpy()
    class_map, likely_map = mask_files(Path(share.scratch), "r+")
    for (left, top), one, probability in zip(corners + halo, classes, likely, strict=True):
        place = (slice(top, top + CORE_PX), slice(left, left + CORE_PX))
        height, width = class_map[place].shape
        class_map[place] = one[:height, :width]
        likely_map[place] = probability[:height, :width]
    found.append(len(corners))


def mask_files(
    folder: Path, mode: Any, shape: tuple[int, int] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the class and the probability, times 255, of each pixel of the slide, mapped files."""
    classes, likely = (
        np.lib.format.open_memmap(folder / f"{name}.npy", mode, np.uint8, shape)
        for name in ("classes", "likely")
    )
    return classes, likely


def _take_labels(answer: Tensor, corners: NDArray[np.int64], share: Share, found: Found) -> None:
    """Add centre, outline, class and score of each label whose centre lies in the tile's core."""
    low = share.halo_px
    for corner, labels in zip(corners, answer.to(torch.int32).numpy(), strict=True):
        boxes = ndimage.find_objects(labels)
        for number, box in enumerate(boxes, start=1):
            if box is None:
                continue
            inside = (labels[box] == number).astype(np.uint8)
            moments = cv2.moments(inside, binaryImage=True)
            offset = np.array([box[1].start, box[0].start])
            from_corner = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
            centre = offset + from_corner
            if (centre < low).any() or (centre >= low + CORE_PX).any():
                continue
            rings, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            ring = max(rings, key=len)[:, 0] + offset
            if len(ring) > 2:
                found.append((centre + corner, ring + corner, 0, 1.0))


def _take_centres(answer: Tensor, corners: NDArray[np.int64], share: Share, found: Found) -> None:
    """Add place, class and score of each peak in the tile's core."""
    low = share.halo_px
    heat = torch.sigmoid(answer).numpy()
    for corner, tile in zip(corners, heat, strict=True):
        for number, one in enumerate(tile):
            # dilating is many times as fast as max_pool2d or skimage's peak_local_max
            is_peak = (one >= THRESHOLD) & (one == cv2.dilate(one, _AROUND))
            core = is_peak[low : low + CORE_PX, low : low + CORE_PX]
            rows, columns = core.nonzero()
            scores = one[rows + low, columns + low]
            places = np.stack([columns, rows], axis=1) + low + 0.5 + corner
            found.append((places, np.full(len(places), number), scores))


Taker = Callable[[Any, NDArray[np.int64], Share, Found], None]
TAKERS: Final[Mapping[str, Taker]] = {
    "tiles": _take_tiles,
    "mask": _take_mask,
    "labels": _take_labels,
    "centres": _take_centres,
    "embeddings": _take_vectors,
    "slide": _take_vectors,
}


def shares(whole: Share, count: int) -> Sequence[Share]:
    """Return so many shares of the tiles, each of neighbouring rows."""
    return [replace(whole, corners=part) for part in np.array_split(whole.corners, count)]
