"""Says how sample tiles are stained, and whether that fits an algorithm's card.

Numbers in comments were measured on the slides named there; docs/algorithms.md has the table.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from broker.orders.stains import (
    FLUORESCENCE,
    H_AND_E,
    H_DAB,
    HAEMATOXYLIN,
    MISMATCH_HINT,
    UNSTAINED,
    OnMismatch,
    card_stains,
    contradiction,
    stain_name,
    stated,
)
from worker.inference.quality.sample_pixels import Mask, SamplePixels, share

CODE: Final = "stain_unexpected"
Fit = Literal["fits", "doubt", "mismatch"]

GREY: Final = "grey"
OTHER: Final = "another stain"
FAINT: Final = "hardly any stain"

# Light through glass is bright in all three channels somewhere. The least channel of a pixel, its
# median and its 90th percentile: H&E and H-DAB 92 and 226 or more, made fluorescence 5 and 6.
_DARK_MEDIAN: Final = 40
_DARK_LIGHTEST: Final = 100
_NOT_SCANNED: Final = 16
# Shares of the pixels. Of what lies on the glass, 0.28 is stained in the palest section looked at
# that counts as stained, 0.05 in a photograph of H-DAB at a seventh of its stain, 0.00 unstained.
_LEAST_MATTER: Final = 0.02
_UNSTAINED: Final = 0.005
_FAINT: Final = 0.05
_LEAST_STAINED: Final = 0.005
# The difference of the largest and the least channel that is colour; 0.88 of the stained pixels of
# the palest H-DAB photograph have it, none of a grey picture.
_COLOUR: Final = 15
_GREY: Final = 0.05
# Shares of the stained pixels with the colour of eosin: H&E 0.33 to 0.98, H-DAB 0.000.
_EOSIN: Final = 0.15
SOME_EOSIN: Final = 0.04
_RED: Final = 0.3
_GREEN: Final = 0.5
_SOME_GREEN: Final = 0.3
# With the colour of DAB: H-DAB 0.28 to 0.76, H&E up to 0.004.
_BROWN: Final = 0.15
_SOME_BROWN: Final = 0.02


@dataclass(frozen=True, slots=True)
class StainLook:
    """What the sample tiles look like; `name` is a stain's or one of this module's.

    `is_clear` is False where somebody should look. `detail` is a clause with what was measured.
    """

    name: str
    is_clear: bool
    detail: str


def look_at(samples: SamplePixels, ink: Mask) -> StainLook | None:
    """Return how the samples are stained, or None where too little is seen to say anything.

    Pixels of `ink` say nothing about the stain, unless nothing else is stained.
    """
    if _is_dark(samples):
        return StainLook(FLUORESCENCE, True, "the background is dark, as in fluorescence")
    stained = samples.stained
    matter = samples.matter
    if share(stained & ~ink) >= _LEAST_STAINED:
        stained = stained & ~ink
        matter = matter & ~ink
    if share(matter) < _LEAST_MATTER:
        return None
    stained_share = share(stained, matter)
    if stained_share < _FAINT:
        detail = f"only {stained_share:.1%} of the tissue in the sample tiles is stained"
        if stained_share < _UNSTAINED:
            return StainLook(UNSTAINED, True, detail)
        return StainLook(FAINT, False, detail)
    coloured = samples.brightest - samples.darkest > _COLOUR
    if share(coloured, stained) < _GREY:
        return StainLook(GREY, True, "the pixels have no colour")
    return _look_at_colours(samples, stained)


def fit(look: StainLook, accepted: frozenset[str]) -> Fit:
    """Return whether the stain is one of those accepted."""
    if look.name == FAINT:
        return "doubt"
    if look.name == HAEMATOXYLIN and HAEMATOXYLIN not in accepted:
        return "doubt"  # eosin may be pale
    if look.name in accepted:
        # a trace of another dye is worth a look, but DAB is rare where few nuclei are positive
        if look.is_clear or look.name == H_DAB:
            return "fits"
        return "doubt"
    if look.is_clear:
        return "mismatch"
    return "doubt"


def check_stain(
    look: StainLook | None, card: AlgorithmCard, ordered: str | None, on_mismatch: OnMismatch
) -> tuple[ScanWarning, ...]:
    """Return the warnings about the stain of a scan, whose order states the stain `ordered`.

    Raises OrderError: `stain_unexpected` for a clear mismatch, unless `on_mismatch` says otherwise.
    """
    if on_mismatch == "ignore":
        return ()
    details = []
    contradicts = contradiction(ordered, card)
    if contradicts:
        details.append(contradicts)
    accepted = card_stains(card)
    found: Fit = "fits"
    if look is not None and accepted is not None:
        found = fit(look, accepted)
    if look is not None and found != "fits":
        details.append(f"the slide {_looks(look)}; {card.name} works on {stated(card)}")
    if on_mismatch == "fail" and (contradicts or found == "mismatch"):
        raise OrderError(CODE, "; ".join(details), hint=MISMATCH_HINT)
    if not details:
        details.extend(_ordered_otherwise(look, ordered))
    return tuple(ScanWarning(code=CODE, detail=detail) for detail in details)


def _ordered_otherwise(look: StainLook | None, ordered: str | None) -> list[str]:
    """Return a sentence where the slide looks other than the order says, whatever the card."""
    name = stain_name(ordered)
    if look is None or name not in (H_DAB, H_AND_E, HAEMATOXYLIN, FLUORESCENCE, UNSTAINED):
        return []
    accepted = {name}
    if name == H_DAB:
        accepted.add(HAEMATOXYLIN)
    if fit(look, frozenset(accepted)) != "mismatch":
        return []
    return [f"the order says that the stain is {ordered!r}, but the slide {_looks(look)}"]


def _looks(look: StainLook) -> str:
    if look.is_clear:
        return f"looks like {look.name} ({look.detail})"
    return f"may be {look.name} ({look.detail})"


def _is_dark(samples: SamplePixels) -> bool:
    """Return whether no light passes anywhere, apart from what was not scanned."""
    least = samples.darkest[samples.brightest > _NOT_SCANNED]
    if not least.size:
        return False
    median, lightest = np.percentile(least, [50, 90])
    return bool(median < _DARK_MEDIAN and lightest < _DARK_LIGHTEST)


def _look_at_colours(samples: SamplePixels, stained: Mask) -> StainLook:
    """Return which stains the stained pixels show."""
    eosin = share(samples.eosin, stained)
    red = share(samples.red, stained)
    green = share(samples.green, stained)
    brown = share(samples.brown, stained)
    if eosin >= SOME_EOSIN:
        detail = f"{eosin:.0%} of the stained pixels have the colour of eosin"
        return StainLook(H_AND_E, eosin >= _EOSIN, detail)
    if green >= _SOME_GREEN:
        detail = f"{green:.0%} of the stained pixels are green"
        return StainLook(OTHER, green >= _GREEN, detail)
    if red >= _RED:
        return StainLook(OTHER, False, f"{red:.0%} of the stained pixels are red")
    if brown >= _SOME_BROWN:
        detail = f"{brown:.0%} of the stained pixels have the colour of DAB"
        return StainLook(H_DAB, brown >= _BROWN, detail)
    return StainLook(HAEMATOXYLIN, True, "there is neither eosin nor DAB")
