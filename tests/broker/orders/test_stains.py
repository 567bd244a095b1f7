"""Names of stains as people write them, and what contradicts a card."""

import pytest

from broker.orders.stains import card_stains, contradiction, on_mismatch, stain_name
from tests.support.results import a_card


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H&E", "H&E"),
        ("HE", "H&E"),
        ("h and e stain", "H&E"),
        ("Hematoxylin & Eosin", "H&E"),
        ("H-DAB", "H-DAB"),
        ("IHC", "H-DAB"),
        ("Ki67", "H-DAB"),
        ("Ki-67 (30-9)", "H-DAB"),
        ("MIB1", "H-DAB"),
        ("DAPI", "fluorescence"),
        ("Masson's trichrome", "trichrome"),
        ("HER2", None),
        ("???", None),
        (None, None),
    ],
)
def test_a_stain_has_one_name(text: str | None, name: str | None) -> None:
    """However it is written; a name that is not known is None."""
    assert stain_name(text) == name


def test_only_a_known_other_stain_contradicts_a_card() -> None:
    """The counterstain alone does not, an unknown name does not, nor does any for a card that
    names no stain or an unknown one."""
    card = a_card().model_copy(update={"stains": ("H-DAB",)})
    assert "ki67 works on H-DAB" in contradiction("H&E", card)
    assert [contradiction(stain, card) for stain in ("Ki67", "haematoxylin", "HER2", None)] == [
        "",
        "",
        "",
        "",
    ]
    assert contradiction("H&E", a_card()) == ""
    unknown = card.model_copy(update={"stains": ("H-DAB", "Orcein")})
    assert card_stains(unknown) is None
    assert contradiction("H&E", unknown) == ""


def test_the_order_decides_else_the_card_else_it_fails() -> None:
    """The default of a site stands in the card's schema."""
    card = a_card()
    assert on_mismatch({}, card) == "fail"
    schema = {"properties": {"on_stain_mismatch": {"default": "warn"}}}
    by_site = card.model_copy(update={"parameters": schema})
    assert on_mismatch({}, by_site) == "warn"
    assert on_mismatch({"on_stain_mismatch": "ignore"}, by_site) == "ignore"
