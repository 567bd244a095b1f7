"""How long to wait before the next of several tries."""

import random

_MAX_DOUBLINGS = 30
"""Enough to reach any limit; more could overflow."""


def backoff_s(first_s: float, longest_s: float, tries: int) -> float:
    """Return the wait after `tries` failed tries: doubled each time up to a limit, with jitter.

    It is between a half and the whole of `first_s * 2**tries`, or of `longest_s` if that is less.
    """
    wait_s = min(longest_s, first_s * 2.0 ** min(tries, _MAX_DOUBLINGS))
    return wait_s * random.uniform(0.5, 1)  # noqa: S311 - jitter
