"""Which report goes with which output."""

import pytest

from broker.orders.report_type import OUTPUTS, check_report, parse_report

CLASSES = ("mitosis", "imposter")
NEEDED = {"AiMitosisCounting": {"mitosis": "mitosis"}, "TumorCellularity": {"tumor": ["mitosis"]}}


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_type_goes_with_its_outputs(name: str) -> None:
    """A type says something true of some outputs only; the others are refused by name."""
    given = {"type": name, **NEEDED.get(name, {})}
    for output in ("tiles", "mask", "objects", "embeddings", "slide", "report"):
        if output in OUTPUTS[name]:
            check_report(given, output, CLASSES)
        else:
            with pytest.raises(ValueError, match=f"report.type: {name} goes with .*{output}"):
                check_report(given, output, CLASSES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "Basics"}, "report.type"),
        ({}, "report.type"),
        ({"type": "AiMitosisCounting"}, "report.mitosis: Field required"),
        ({"type": "TumorCellularity", "tumor": []}, "report.tumor"),
        ({"type": "Basic", "colour": 1}, "report.colour"),
        ({"type": "RegionCounting", "hotspots": 99}, "report.hotspots"),
    ],
)
def test_a_wrong_key_is_named(given: dict[str, object], message: str) -> None:
    """The message begins with the key that is wrong."""
    with pytest.raises(ValueError, match=message):
        parse_report(given)


def test_a_class_that_the_algorithm_does_not_have_is_named() -> None:
    """With those that it has."""
    given = {"type": "AiMitosisCounting", "mitosis": "mitoses"}
    message = r"report\.mitosis: there is no class 'mitoses'; there are: mitosis, imposter"
    with pytest.raises(ValueError, match=message):
        check_report(given, "objects", CLASSES)
