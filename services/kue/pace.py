"""Slows down clients that ask for the same unfinished job without a pause, as old viewers do."""

import time
from collections import OrderedDict
from typing import Final

PACE_S: Final = 0.3
"""The viewers meant to wait so long between two questions."""
_MOST_JOBS: Final = 1000


class PollPace:
    """When each of the jobs that were asked for last was answered. For one event loop."""

    def __init__(self) -> None:
        self._answered_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, word: str) -> float:
        """Return how long the answer about an unfinished job is held back, and note the answer."""
        now = time.monotonic()
        answer_at = max(now, self._answered_at.pop(word, 0.0) + PACE_S)
        self._answered_at[word] = answer_at
        if len(self._answered_at) > _MOST_JOBS:
            self._answered_at.popitem(last=False)
        return min(PACE_S, answer_at - now)
