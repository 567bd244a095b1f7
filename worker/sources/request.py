"""What is needed to fetch one slide."""

from dataclasses import dataclass

import requests

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi
from broker.orders.source import Source
from broker.settings.config import WorkerSettings
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """The slide of one scan and what will be read of it.

    `roi`: None for the whole slide. `mpp`: microns per pixel as the order or the locator states
    them. `card`: of the algorithm whose tiles will be read, None where no worker has announced it.
    """

    source: Source
    roi: Roi | None = None
    mpp: float | None = None
    card: AlgorithmCard | None = None


@dataclass(frozen=True, slots=True)
class FetchTools:
    """What a worker process holds to fetch slides.

    Only `fetch_slide` sees it; it passes on what each source uses.
    """

    slide_cache: SlideCache
    http: requests.Session
    sandbox: Sandbox
    settings: WorkerSettings

    @property
    def limit_bytes(self) -> int:
        """The most bytes that one slide may take.

        A slide larger than cache or disk would wait for space for ever.
        """
        slides = self.settings.slides
        return min(slides.max_slide_bytes, slides.max_bytes, self.slide_cache.disk_bytes)
