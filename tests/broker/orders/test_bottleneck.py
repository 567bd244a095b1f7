"""The name of what held a scan up."""

import pytest

from broker.orders.order import bottleneck

EVEN = {
    f"{stage}_s": 1.0
    for stage in (
        "fetch",
        "open",
        "tissue",
        "read",
        "load",
        "calibrate",
        "model",
        "merge",
        "draw",
        "keep",
    )
}


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"fetch_s": 4.0}, "fetch"),
        ({"read_s": 2.0}, "read"),
        ({"tissue_s": 2.0}, "read"),
        ({"model_s": 2.0}, "model"),
        ({"load_s": 2.0}, "model"),
        ({"merge_s": 3.0}, "write"),
        ({"keep_s": 3.0}, "write"),
        ({"model_s": 2.0, "draw_s": 9.0}, "model"),
    ],
)
def test_the_bottleneck_is_what_took_longest_in_all(more: dict[str, float], name: str) -> None:
    """Stages that wait for the same thing are added up; sums and counts beside them say nothing,
    nor what is drawn
    beside the keeping, which waits for it.
    """
    assert bottleneck(EVEN | more | {"classify_s": 99.0, "bytes": 1e9, "tiles": 5000}) == name


def test_a_scan_that_is_not_classified_has_no_bottleneck() -> None:
    """Nothing is measured yet, or the fetch alone."""
    assert bottleneck({}) is None
    assert bottleneck({"fetch_s": 3.0, "bytes": 12.0}) is None


def test_a_scan_of_few_stages_has_one() -> None:
    """A report reads no tiles; what was not measured took no time."""
    assert bottleneck({"fetch_s": 0.1, "model_s": 0.01, "keep_s": 0.2}) == "write"
