"""The algorithm `ki67`: nuclei of a haematoxylin-DAB section and the Ki-67 labelling index.

Decides which nuclei are positive, and how sure that is. Nuclei are located in `nuclei` and
outlined in `outlines`.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import torch

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.builtin_cards import Ki67Parameters
from worker.algorithms.ki67.nuclei import find_evidence, haematoxylin
from worker.algorithms.ki67.outlines import Bits, Densities, outline_nuclei
from worker.algorithms.ki67.stain import otsu
from worker.algorithms.output_settings import ObjectsSettings
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import keep_freed, sparing
from worker.geometry.frame import Area, Frame, Pixels
from worker.geometry.roi import size_mm2
from worker.results.objects import Objects

NEGATIVE: Final = 0
POSITIVE: Final = 1
# Optical densities of haematoxylin: pixels with less are left out of the histogram; below the
# least threshold Otsu's method would divide noise from noise.
_GLASS_OD: Final = 0.02
_LEAST_OD: Final = 0.05
_MOST_OD: Final = 0.5
_BINS_PER_OD: Final = 256
_SURE_OD: Final = 0.05  # a nucleus whose DAB is this far from the threshold scores 0.73


class Ki67:
    """The algorithm with an order's parameters, on one device."""

    works_on: Literal["tiles"] = "tiles"
    settings = ObjectsSettings()

    def __init__(self, card: AlgorithmCard, parameters: Ki67Parameters, device: Device) -> None:
        self.card = card
        self.batch_tiles = device.batch(on_cpu=1, on_gpu=4)
        self._parameters = parameters
        self._device = device
        if not device.is_gpu:
            keep_freed()

    def calibrate(self, samples: Pixels) -> "Ki67Classifier":
        """Fix the haematoxylin threshold for a scan.

        It is the order's, else Otsu's over the stained pixels of the samples.
        """
        threshold_od = self._parameters.haematoxylin_threshold
        if threshold_od is None:
            threshold_od = self._otsu_od(samples)
        return Ki67Classifier(self._parameters, threshold_od, self._device)

    @torch.inference_mode()
    def _otsu_od(self, samples: Pixels) -> float:
        counts = np.zeros(2 * _BINS_PER_OD)
        for sample in samples:
            pixels = torch.tensor(sample[None], device=self._device.torch)
            density = haematoxylin(pixels).cpu().numpy()
            counts += np.histogram(density, bins=len(counts), range=(0, 2))[0]
        counts[: int(_GLASS_OD * _BINS_PER_OD)] = 0
        if not counts.any():
            return _MOST_OD
        return float(np.clip(otsu(counts) / _BINS_PER_OD, _LEAST_OD, _MOST_OD))


class Ki67Classifier:
    """The algorithm with all thresholds fixed for one scan. Threads may share it."""

    def __init__(self, parameters: Ki67Parameters, haematoxylin_od: float, device: Device) -> None:
        self._parameters = parameters
        self._haematoxylin_od = haematoxylin_od
        self._device = device

    def classify(self, batch: Pixels) -> list[Objects]:
        """Return the nuclei of each tile (N, E, E, 3), E a multiple of 8, in pixels of the tile.

        A centre is the peak of its nucleus, not the middle of its outline.
        """
        if not len(batch):
            return []
        return sparing(self._classify, batch)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return counts, densities and the labelling index: the percentage of positive nuclei.

        The index is None where there are no nuclei.
        """
        count = sum(counts)
        positive = counts[POSITIVE]
        area_mm2 = size_mm2(area, frame)
        index = None
        if count:
            index = 100 * positive / count
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

    def _classify(self, batch: Pixels) -> list[Objects]:
        with self._device.turn():
            evidence = find_evidence(self._device.copied(batch), self._haematoxylin_od)
        tiles = zip(
            evidence.dark.numpy(), evidence.peaks.numpy(), evidence.dab.numpy(), strict=True
        )
        return [self._objects(dark, peaks, dab) for dark, peaks, dab in tiles]

    def _objects(self, dark: Pixels, peaks: Bits, dab: Densities) -> Objects:
        """Return the nuclei of one tile; the score grows with the distance from the threshold."""
        nuclei = outline_nuclei(
            dark, peaks, dab, self._parameters.min_nucleus_um2, self._parameters.max_nucleus_um2
        )
        above_od = nuclei.dab - self._parameters.positive_threshold
        return Objects(
            centres=nuclei.centres,
            outlines=nuclei.outlines,
            classes=np.where(above_od >= 0, POSITIVE, NEGATIVE).astype(np.int64),
            scores=1 / (1 + np.exp(-np.abs(above_od) / _SURE_OD)),
            measurements=nuclei.dab[:, None],
        )

    def _thresholds(self) -> dict[str, Any]:
        source = "order"
        if self._parameters.haematoxylin_threshold is None:
            source = "otsu"
        return {
            "positive_dab_od": self._parameters.positive_threshold,
            "haematoxylin_od": self._haematoxylin_od,
            "haematoxylin_from": source,
        }
