"""The names of stains, as cards and orders state them, and what an order requests on a mismatch.

People write one stain in many ways. Only names listed here are compared; an unknown name
contradicts nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from broker.orders.algorithm_card import AlgorithmCard

OnMismatch = Literal["fail", "warn", "ignore"]
"""What becomes of a scan whose stain is clearly not one of the algorithm's."""
ON_STAIN_MISMATCH: Final = "on_stain_mismatch"
"""The parameter of that name: of every algorithm whose card names stains."""
MISMATCH_HINT: Final = (
    f"order an algorithm for this stain, or with the parameter {ON_STAIN_MISMATCH} = warn "
    "if you know that it fits"
)
H_DAB: Final = "H-DAB"
H_AND_E: Final = "H&E"
HAEMATOXYLIN: Final = "haematoxylin"
FLUORESCENCE: Final = "fluorescence"
UNSTAINED: Final = "unstained"

# In lower case, letters and digits only, without the words in `_FILLING`.
_NAMES: Final[Mapping[str, str]] = {
    "hdab": H_DAB,
    "dab": H_DAB,
    "dabh": H_DAB,
    "haematoxylindab": H_DAB,
    "hematoxylindab": H_DAB,
    "ihc": H_DAB,
    "ihcdab": H_DAB,
    "immunohistochemistry": H_DAB,
    "he": H_AND_E,
    "hes": H_AND_E,
    "haematoxylineosin": H_AND_E,
    "hematoxylineosin": H_AND_E,
    "haematoxylin": HAEMATOXYLIN,
    "hematoxylin": HAEMATOXYLIN,
    "fluorescence": FLUORESCENCE,
    "immunofluorescence": FLUORESCENCE,
    "if": FLUORESCENCE,
    "mif": FLUORESCENCE,
    "dapi": FLUORESCENCE,
    "fish": FLUORESCENCE,
    "unstained": UNSTAINED,
    "pas": "PAS",
    "periodicacidschiff": "PAS",
    "giemsa": "Giemsa",
    "maygruenwaldgiemsa": "Giemsa",
    "pap": "Papanicolaou",
    "papanicolaou": "Papanicolaou",
    "trichrome": "trichrome",
    "masson": "trichrome",
    "massontrichrome": "trichrome",
    "massonstrichrome": "trichrome",
    "reticulin": "reticulin",
    "congored": "Congo red",
    "alcianblue": "Alcian blue",
    "prussianblue": "Prussian blue",
    "ziehlneelsen": "Ziehl-Neelsen",
}
KNOWN_STAINS: Final = tuple(dict.fromkeys(_NAMES.values()))
"""The one name of each stain that is compared."""
# Antibodies of the nuclear marker, with a clone or a dilution behind the name.
_KI67: Final = ("ki67", "mib1")
_FILLING: Final = re.compile(r"\b(and|stain|stained|staining|slide)\b")
_NO_LETTER: Final = re.compile(r"[^a-z0-9]+")


def stain_name(text: str | None) -> str | None:
    """Return the one name of a stain that people write in several ways, or None if unknown."""
    if text is None:
        return None
    bare = _NO_LETTER.sub("", _FILLING.sub(" ", text.casefold()))
    if bare.startswith(_KI67):
        return H_DAB
    return _NAMES.get(bare)


def card_stains(card: AlgorithmCard) -> frozenset[str] | None:
    """Return the names of the stains that the card states.

    Return None where it states none, or one that is unknown: then nothing can be compared.
    """
    names = set()
    for stain in card.stains:
        name = stain_name(stain)
        if name is None:
            return None
        names.add(name)
    if H_DAB in names:
        # a section without any positive cell shows nothing but its counterstain
        names.add(HAEMATOXYLIN)
    return frozenset(names) or None


def contradiction(stain: str | None, card: AlgorithmCard) -> str:
    """Return a sentence on how the stain that an order states contradicts the card, or ''."""
    name = stain_name(stain)
    accepted = card_stains(card)
    if name is None or accepted is None or name in accepted:
        return ""
    return f"the order says that the stain is {stain!r}; {card.name} works on {stated(card)}"


def stated(card: AlgorithmCard) -> str:
    """Return the card's stains for people."""
    return " or ".join(card.stains)


def on_mismatch(parameters: Mapping[str, Any], card: AlgorithmCard) -> OnMismatch:
    """Return what the order's parameters request on a mismatch, else the card's default."""
    schema = card.parameters.get("properties", {}).get(ON_STAIN_MISMATCH, {})
    default = schema.get("default", "fail")
    return cast(OnMismatch, parameters.get(ON_STAIN_MISMATCH, default))


def same_stain(one: str | None, other: str | None) -> bool:
    """Return whether two texts name the same stain or the same marker.

    Different markers made visible by the same stain are different: Ki-67 is not HER2, nor any DAB.
    """
    if one is None or other is None:
        return False
    if _bare(one) == _bare(other):
        return True
    if _is_ki67(one) or _is_ki67(other):
        return _is_ki67(one) and _is_ki67(other)
    name = stain_name(one)
    return name is not None and name == stain_name(other)


def _bare(text: str) -> str:
    """Return letters and digits of a name in lower case; the text where it has none of these."""
    return _NO_LETTER.sub("", _FILLING.sub(" ", text.casefold())) or text


def _is_ki67(text: str) -> bool:
    return _bare(text).startswith(_KI67)
