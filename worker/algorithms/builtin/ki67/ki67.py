"""The algorithm `ki67`: nuclei of a haematoxylin-DAB section and the Ki-67 labelling index.

Decides which nuclei are positive, and how sure that is. Nuclei are located in `nuclei` and
outlined in `outlines`. It is a `TileModel` of the public interface and uses nothing else of
Slidelane.
"""

from collections.abc import Mapping
from threading import BoundedSemaphore
from typing import Any, Final

import numpy as np
import torch

from slidelane.algorithms import Context, Found
from worker.algorithms.builtin.ki67.arrays import Pixels
from worker.algorithms.builtin.ki67.card import CARD
from worker.algorithms.builtin.ki67.nuclei import find_evidence, haematoxylin
from worker.algorithms.builtin.ki67.outlines import Bits, Densities, outline_nuclei
from worker.algorithms.builtin.ki67.stain import otsu

NEGATIVE: Final = 0
POSITIVE: Final = 1
# Optical densities of haematoxylin: pixels with less are left out of the histogram; below the
# least threshold Otsu's method would divide noise from noise.
_GLASS_OD: Final = 0.02
_LEAST_OD: Final = 0.05
_MOST_OD: Final = 0.5
_BINS_PER_OD: Final = 256
_TURNS: Final = 2
_SURE_OD: Final = 0.05  # a nucleus whose DAB is this far from the threshold scores 0.73


class Ki67:
    """The algorithm. Between two calls of `prepare` threads may share it."""

    card = CARD
    threads = 64
    """Outlines are drawn on the CPU, one tile in each thread."""

    def load(self, device: str) -> None:
        """Compute on this device: `cpu` or `cuda:0`."""
        self._device = torch.device(device)
        # One thread copies to a GPU while another one computes; more would take its memory.
        self._turns = BoundedSemaphore(_TURNS)
        if self._device.type == "cpu":
            self._turns = BoundedSemaphore(self.threads)

    def prepare(self, context: Context) -> None:
        """Fix the thresholds for a scan.

        The one of haematoxylin is the order's, else Otsu's over the stained pixels of the samples.
        """
        self._parameters = context.parameters
        threshold_od = context.parameters["haematoxylin_threshold"]
        if threshold_od is None:
            threshold_od = self._otsu_od(context.samples)
        self._haematoxylin_od: float = threshold_od

    def classify(self, batch: Pixels) -> list[list[Found]]:
        """Return the nuclei of each tile (N, E, E, 3), E a multiple of 8, in pixels of the tile.

        A centre is the peak of its nucleus, not the middle of its outline.
        """
        with self._turns:
            pixels = torch.from_numpy(batch).to(self._device)
            evidence = find_evidence(pixels, self._haematoxylin_od)
        tiles = zip(
            evidence.dark.numpy(), evidence.peaks.numpy(), evidence.dab.numpy(), strict=True
        )
        return [self._found(dark, peaks, dab) for dark, peaks, dab in tiles]

    def summarise(
        self, counts: Mapping[str, int], context: Context
    ) -> tuple[Mapping[str, Any], str]:
        """Return counts, densities and the labelling index: the percentage of positive nuclei.

        The index is None where there are no nuclei.
        """
        positive = counts["positive"]
        count = positive + counts["negative"]
        area_mm2 = _size_mm2(context)
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

    @torch.inference_mode()
    def _otsu_od(self, samples: Pixels) -> float:
        counts = np.zeros(2 * _BINS_PER_OD)
        for sample in samples:
            pixels = torch.tensor(sample[None], device=self._device)
            density = haematoxylin(pixels).cpu().numpy()
            counts += np.histogram(density, bins=len(counts), range=(0, 2))[0]
        counts[: int(_GLASS_OD * _BINS_PER_OD)] = 0
        if not counts.any():
            return _MOST_OD
        return float(np.clip(otsu(counts) / _BINS_PER_OD, _LEAST_OD, _MOST_OD))

    def _found(self, dark: Pixels, peaks: Bits, dab: Densities) -> list[Found]:
        """Return the nuclei of one tile; the score grows with the distance from the threshold."""
        nuclei = outline_nuclei(
            dark,
            peaks,
            dab,
            self._parameters["min_nucleus_um2"],
            self._parameters["max_nucleus_um2"],
        )
        above_od = nuclei.dab - self._parameters["positive_threshold"]
        kinds = np.where(above_od >= 0, POSITIVE, NEGATIVE).tolist()
        scores = (1 / (1 + np.exp(-np.abs(above_od) / _SURE_OD))).tolist()
        measured = [{"dab_od_mean": density} for density in nuclei.dab.tolist()]
        xs, ys = nuclei.centres.T.tolist()
        return list(map(Found, xs, ys, kinds, scores, nuclei.outlines, measured))

    def _thresholds(self) -> dict[str, Any]:
        source = "order"
        if self._parameters["haematoxylin_threshold"] is None:
            source = "otsu"
        return {
            "positive_dab_od": self._parameters["positive_threshold"],
            "haematoxylin_od": self._haematoxylin_od,
            "haematoxylin_from": source,
        }


def _size_mm2(context: Context) -> float:
    """Return the size of the ordered area. Raises ValueError where nobody says how large it is."""
    if context.mpp_x is None or context.mpp_y is None:
        raise ValueError("nobody says how large a pixel is")
    return context.roi.area_px2 * context.mpp_x * context.mpp_y / 1e6
