"""Doubts about the size of a slide's pixels, for an algorithm that depends on it."""

from typing import Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from worker.geometry.frame import Frame

_FINEST_OPTICAL_UM: Final = 0.05
"""No objective resolves more: one of 100 x with a camera of 5 um pixels."""


def mpp_warnings(frame: Frame, card: AlgorithmCard) -> tuple[ScanWarning, ...]:
    """Return the warnings about the size of a pixel, for an algorithm that depends on it.

    A slide of smaller pixels than the algorithm works at is made smaller, by the mean of them, and
    loses nothing that the algorithm has seen in its training; so it has no warning.
    """
    if card.mpp is None or frame.mpp_x is None or frame.mpp_y is None:
        return ()
    warnings = []
    size = f"{frame.mpp_x:g} x {frame.mpp_y:g} microns per pixel"
    if frame.mpp_source in ("order", "locator"):
        detail = f"the slide does not state its resolution; the {frame.mpp_source} says {size}"
        warnings.append(ScanWarning(code="mpp_not_from_slide", detail=detail))
    if max(frame.mpp_x, frame.mpp_y) > card.mpp * card.mpp_tolerance:
        detail = f"the slide has {size}; {card.name} works at {card.mpp:g}, so it was enlarged"
        warnings.append(ScanWarning(code="mpp_far_from_model", detail=detail))
    if min(frame.mpp_x, frame.mpp_y) < _FINEST_OPTICAL_UM:
        detail = f"the slide has {size}, which no objective resolves; is it in another unit?"
        warnings.append(ScanWarning(code="mpp_far_from_model", detail=detail))
    return tuple(warnings)
