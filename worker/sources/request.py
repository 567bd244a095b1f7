"""One slide to be brought near: what of it is wanted, with what means, who hears of it, and what keeps it near."""

from contextlib import ExitStack
from dataclasses import dataclass

import requests

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi
from broker.settings.config import WorkerSettings
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox


@dataclass(frozen=True, slots=True)
class FetchTools:
    """What slides are brought near with."""

    shelf: SlideCache
    http: requests.Session
    sandbox: Sandbox
    settings: WorkerSettings

    @property
    def limit_bytes(self) -> int:
        """The most that one slide may take; one larger than shelf or disk would wait for room for ever."""
        slides = self.settings.slides
        return min(slides.max_slide_bytes, slides.max_bytes, self.shelf.disk_bytes)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One slide's way. `card`: whose tiles will be read, None where nobody has announced it; `pins` keep what came."""

    roi: Roi | None
    mpp: float | None
    card: AlgorithmCard | None
    means: FetchTools
    watch: Progress
    pins: ExitStack
