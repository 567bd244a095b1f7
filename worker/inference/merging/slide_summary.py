"""Says in figures and in one line what a network for slides answered, for a scan or for a case."""

from dataclasses import dataclass
from typing import Any

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from worker.algorithms.output_settings import SlideSettings
from worker.geometry.frame import Floats


@dataclass(frozen=True, slots=True)
class SlideClass:
    """The number of the answered class, or None, and of the likeliest one, with its probability."""

    number: int | None
    likeliest: int
    probability: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was answered for so many `tiles` of so many `scans`.

    `decision` and `probabilities`, (K,), are None where there is no tile and nobody was asked.
    """

    scans: int
    tiles: int
    decision: SlideClass | None = None
    probabilities: Floats | None = None


def slide_class(probabilities: Floats, threshold: float | None) -> SlideClass:
    """Return the likeliest class, which is the answer if it is as likely as the threshold says.

    Without one, a single class must reach 0.5 and one of several need not.
    """
    likeliest = int(probabilities.argmax())
    probability = float(probabilities[likeliest])
    least = threshold
    if least is None and len(probabilities) == 1:
        least = 0.5
    if least is not None and probability < least:
        return SlideClass(None, likeliest, probability)
    return SlideClass(likeliest, likeliest, probability)


def scan_summary(card: AlgorithmCard, judgement: Judgement, precision: str) -> dict[str, Any]:
    """Return the figures of a scan that is judged by itself."""
    return {
        **_class_fields(card, judgement),
        "tiles": judgement.tiles,
        "encoder": card.encoder,
        "precision": precision,
    }


def case_summary(
    card: AlgorithmCard, judgement: Judgement, tiles: int, precision: str
) -> dict[str, Any]:
    """Return the figures of one scan of a case: the answer for the case, and its own `tiles`.

    `tiles` are those of the scan that the network was given, `precision` that of its encoder.
    """
    case = {
        **_class_fields(card, judgement),
        "scans": judgement.scans,
        "tiles": judgement.tiles,
    }
    return {"case": case, "tiles": tiles, "encoder": card.encoder, "precision": precision}


def headline(card: AlgorithmCard, judgement: Judgement, settings: SlideSettings) -> str:
    """Return the answer in one line."""
    text = _headline(card, judgement, settings)
    if settings.scope == "case":
        return f"case: {text}"
    return text


def left_out(tiles: int, chosen: int) -> tuple[ScanWarning, ...]:
    """Return a warning where fewer tiles were `chosen` than there are."""
    if chosen == tiles:
        return ()
    detail = (
        f"the network was given {chosen:,} of {tiles:,} tiles, evenly spaced, as max_tiles says"
    )
    return (ScanWarning(code="tiles_left_out", detail=detail),)


def _class_fields(card: AlgorithmCard, judgement: Judgement) -> dict[str, Any]:
    names = [entry.name for entry in card.classes]
    decision = judgement.decision
    if decision is None or judgement.probabilities is None:
        return {"class": None, "probability": None, "probabilities": dict.fromkeys(names)}
    name = None
    if decision.number is not None:
        name = names[decision.number]
    by_class = dict(zip(names, judgement.probabilities.tolist(), strict=True))
    return {"class": name, "probability": decision.probability, "probabilities": by_class}


def _headline(card: AlgorithmCard, judgement: Judgement, settings: SlideSettings) -> str:
    decision = judgement.decision
    if decision is None:
        return "no tissue found"
    label = card.classes[decision.likeliest].label
    figures = f"probability {decision.probability:.3f}, {_counted(judgement, settings)}"
    if decision.number is not None:
        return f"{label} ({figures})"
    least = settings.threshold
    if least is None:
        least = 0.5
    if len(card.classes) == 1:
        return f"not {label} ({figures}; {least:g} is needed)"
    return f"no class is clear: likeliest {label} ({figures}; {least:g} is needed)"


def _counted(judgement: Judgement, settings: SlideSettings) -> str:
    """Return in words what was judged."""
    tiles = f"{judgement.tiles:,} tiles"
    if settings.scope == "scan":
        return tiles
    if judgement.scans == 1:
        return f"1 scan, {tiles}"
    return f"{judgement.scans} scans, {tiles}"
