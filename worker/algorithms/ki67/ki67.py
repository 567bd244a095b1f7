"""`ki67`: nuclei of a haematoxylin-DAB section, which of them are brown, and the labelling index.

Owns what makes a nucleus positive and how sure that is; where nuclei are is `nuclei`'s, their outlines `outlines`'.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.builtin_cards import Ki67Parameters
from worker.algorithms.ki67.nuclei import haematoxylin, search
from worker.algorithms.ki67.outlines import Bits, Densities, outline
from worker.algorithms.ki67.stain import otsu
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import keep_freed, sparing
from worker.geometry.frame import Area, Frame, Pixels
from worker.geometry.roi import size_mm2
from worker.results.objects import Objects

NEGATIVE: Final = 0
POSITIVE: Final = 1
_GLASS_OD: Final = 0.02  # pixels with less haematoxylin are left out of the histogram
_LEAST_OD: Final = 0.05  # below this Otsu parts noise from noise
_MOST_OD: Final = 0.5
_BINS_PER_OD: Final = 256
_SURE_OD: Final = 0.05  # a nucleus this far from the threshold scores 0.73


class Ki67:
    """The algorithm with an order's parameters, on one device."""

    def __init__(self, card: AlgorithmCard, parameters: Ki67Parameters, device: Device) -> None:
        self.card, self.batch_tiles = card, device.batch(on_cpu=1, on_gpu=4)
        self._parameters, self._device = parameters, device
        if not device.is_gpu:
            keep_freed()

    def calibrate(self, samples: Pixels) -> "Ki67Classifier":
        """Fix the haematoxylin threshold: the order's, or Otsu's over the stained pixels of the samples."""
        asked = self._parameters.haematoxylin_threshold
        threshold_od = self._otsu_od(samples) if asked is None else asked
        return Ki67Classifier(self._parameters, threshold_od, self._device)

    @torch.inference_mode()
    def _otsu_od(self, samples: Pixels) -> float:
        counts = np.zeros(2 * _BINS_PER_OD)
        for sample in samples:
            blue = haematoxylin(torch.tensor(sample[None], device=self._device.torch)).cpu().numpy()
            counts += np.histogram(blue, bins=len(counts), range=(0, 2))[0]
        counts[: int(_GLASS_OD * _BINS_PER_OD)] = 0
        return (
            float(np.clip(otsu(counts) / _BINS_PER_OD, _LEAST_OD, _MOST_OD))
            if counts.any()
            else _MOST_OD
        )


class Ki67Classifier:
    """The algorithm with everything fixed for one scan. May be called from several threads at once."""

    def __init__(self, parameters: Ki67Parameters, haematoxylin_od: float, device: Device) -> None:
        self._parameters, self._haematoxylin_od, self._device = parameters, haematoxylin_od, device

    def classify(self, batch: Pixels) -> list[Objects]:
        """Outline the nuclei of each tile (N, E, E, 3), E a multiple of 8; a centre is the peak of its nucleus."""
        return sparing(self._classify, batch) if len(batch) else []

    def _classify(self, batch: Pixels) -> list[Objects]:
        with self._device.turn():
            evidence = search(self._device.copied(batch), self._haematoxylin_od)
        return [
            self._objects(*tile) for tile in zip(*(part.numpy() for part in evidence), strict=True)
        ]

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Count. The index is the share of positive nuclei in percent, None where there is no nucleus."""
        count, positive = sum(counts), counts[POSITIVE]
        area_mm2 = size_mm2(area, frame)
        index = 100 * positive / count if count else None
        summary = {
            "nuclei": count,
            "positive": positive,
            "negative": count - positive,
            "labelling_index_pct": index,
            "area_mm2": area_mm2,
            "nuclei_per_mm2": count / area_mm2,
            "thresholds": self._thresholds(),
        }
        if index is None:
            return summary, "Ki-67: no nuclei found"
        return summary, f"Ki-67 labelling index {index:.1f} % ({positive:,} of {count:,} nuclei)"

    def _objects(self, dark: Pixels, peaks: Bits, dab: Densities) -> Objects:
        limits = (self._parameters.min_nucleus_um2, self._parameters.max_nucleus_um2)
        nuclei = outline(dark, peaks, dab, *limits)
        above_od = nuclei.dab - self._parameters.positive_threshold
        classes = np.where(above_od >= 0, POSITIVE, NEGATIVE).astype(np.int64)
        return Objects(
            nuclei.centres, nuclei.outlines, classes, 1 / (1 + np.exp(-np.abs(above_od) / _SURE_OD))
        )

    def _thresholds(self) -> dict[str, Any]:
        asked = self._parameters.haematoxylin_threshold
        return {
            "positive_dab_od": self._parameters.positive_threshold,
            "haematoxylin_od": self._haematoxylin_od,
            "haematoxylin_from": "otsu" if asked is None else "order",
        }
