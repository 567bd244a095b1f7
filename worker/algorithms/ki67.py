"""`ki67`: nuclei on H-DAB slides and which of them are DAB positive. Puts stain separation and nuclei together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from broker.card import Card
from worker.algorithms import nuclei, stain
from worker.algorithms.cards import Ki67Parameters
from worker.algorithms.device import device_of
from worker.values import Area, Floats, Frame, Objects, Pixels

FAINTEST_NUCLEUS = 0.12
"""Optical density below which Otsu's answer is not believed: it would split empty glass in two."""
BLUR_OF_THRESHOLD = 0.05
"""Optical density over which a positive class fades into a negative one; the scale of the scores."""


class Ki67:
    """Ready for a scan: parameters checked, device chosen."""

    def __init__(self, card: Card, parameters: Ki67Parameters, device: str) -> None:
        self.card, self._parameters, self._device = card, parameters, device_of(device)

    @torch.inference_mode()
    def calibrate(self, samples: Pixels) -> "Ki67Classifier":
        """The nuclear threshold of this scan, by Otsu over the samples unless the order gave one."""
        assert self.card.mpp is not None  # noqa: S101 - the card of this algorithm has one
        matrix = stain.unmixing(self._device)
        threshold = self._parameters.nuclear_threshold
        if threshold is None:
            threshold = self._otsu(samples, matrix, self.card.mpp)
        return Ki67Classifier(self._parameters, matrix, threshold, self.card.mpp)

    def _otsu(self, samples: Pixels, matrix: torch.Tensor, mpp: float) -> float:
        values = [
            nuclei.signal(stain.separate(torch.from_numpy(sample[None]).to(self._device), matrix), mpp)[..., ::3, ::3]
            for sample in samples
        ]
        if not values:
            return FAINTEST_NUCLEUS
        return max(FAINTEST_NUCLEUS, otsu(torch.cat([value.flatten() for value in values]).cpu().numpy()))


@dataclass(frozen=True, slots=True)
class Ki67Classifier:
    """Finds and judges nuclei with thresholds fixed for the scan. Threads may share it."""

    parameters: Ki67Parameters
    matrix: torch.Tensor
    threshold: float
    mpp: float

    @torch.inference_mode()
    def classify(self, batch: Pixels) -> list[Objects]:
        """Nuclei of each tile (N, E, E, 3), halo included; a centre is its marker's: it depends on near pixels only."""
        stains = stain.separate(torch.from_numpy(batch).to(self.matrix.device), self.matrix)
        mask, peaks = nuclei.markers(nuclei.signal(stains, self.mpp), self.threshold, self.mpp)
        masks, seeds = mask.byte().cpu().numpy(), peaks.byte().cpu().numpy()
        dab = stains[:, 1].cpu().numpy()
        return [self._judge(nuclei.label(masks[n], seeds[n], self.mpp), dab[n]) for n in range(len(batch))]

    def _judge(self, labels: nuclei.Labels, dab: NDArray[np.float32]) -> Objects:
        inside = np.flatnonzero(labels.cells)
        numbers, count = labels.cells.ravel()[inside], len(labels.centres) + 1
        pixels = np.bincount(numbers, minlength=count)
        amount = np.bincount(numbers, dab.ravel()[inside], minlength=count) / np.maximum(pixels, 1)
        area_um2 = pixels * self.mpp**2
        low, high = self.parameters.min_nucleus_um2, self.parameters.max_nucleus_um2
        sized = np.flatnonzero((area_um2[1:] >= low) & (area_um2[1:] <= high)) + 1
        rings = {int(n): ring for n in sized if (ring := nuclei.outline(labels, int(n), self.mpp)) is not None}
        kept = np.array(list(rings), np.int64)
        return self._objects(labels.centres[kept - 1], tuple(rings.values()), amount[kept])

    def _objects(self, centres: Floats, rings: tuple[Floats, ...], dab: Floats) -> Objects:
        positive = dab >= self.parameters.positive_threshold
        certainty = 1 / (1 + np.exp(-np.abs(dab - self.parameters.positive_threshold) / BLUR_OF_THRESHOLD))
        return Objects(centres, rings, positive.astype(np.int64), certainty)

    def summarise(self, objects: Objects, frame: Frame, area: Area) -> tuple[dict[str, Any], str]:
        """Counts, the labelling index, and the density over the whole area, glass included."""
        total, positive = len(objects), int((objects.classes == 1).sum())
        index_pct = round(100 * positive / total, 2) if total else None
        area_mm2 = area.width * area.height * (frame.mpp_x or 0) * (frame.mpp_y or 0) / 1e6
        summary = {
            "nuclei": total,
            "positive": positive,
            "negative": total - positive,
            "labelling_index_pct": index_pct,
            "area_mm2": round(area_mm2, 4),
            "nuclei_per_mm2": round(total / area_mm2, 1),
            "nuclear_threshold_od": round(self.threshold, 4),
            "positive_threshold_od": self.parameters.positive_threshold,
        }
        if index_pct is None:
            return summary, "No nuclei found"
        return summary, f"Ki-67 labelling index {index_pct:.1f} % ({positive:,} of {total:,} nuclei)"


def otsu(values: NDArray[np.float32], bins: int = 256) -> float:
    """The threshold that splits `values` into two classes of least variance (Otsu 1979)."""
    counts, edges = np.histogram(values, bins, (0.0, max(1e-6, float(np.quantile(values, 0.998)))))
    share, middles = counts / counts.sum(), (edges[:-1] + edges[1:]) / 2
    below, mean_below = share.cumsum(), (share * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean_below[-1] * below - mean_below) ** 2 / (below * (1 - below))
    return float(edges[int(np.nan_to_num(between[:-1]).argmax()) + 1])
