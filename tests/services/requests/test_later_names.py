"""Names that a later version will know are refused with a hint that says so."""

from typing import Any

import pytest

from services.requests.order_validation import ManyFaultsError, order_of

SCAN: dict[str, Any] = {"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}
ORDER: dict[str, Any] = {"algorithm": "grid", "scans": [SCAN]}
DICOMWEB = {"type": "dicomweb", "url": "https://pacs.example/dicom-web"}


@pytest.mark.parametrize(
    "document",
    [
        ORDER | {"robustness": {"intensity": "mild", "seed": 7}},
        ORDER | {"destination": DICOMWEB},
        ORDER | {"scans": [SCAN | {"source": DICOMWEB}]},
    ],
    ids=["robustness", "destination", "source"],
)
def test_a_name_of_a_later_version_is_told_so(document: dict[str, Any]) -> None:
    """Its author reads that nothing is misspelt."""
    with pytest.raises(ManyFaultsError) as refused:
        order_of(document)
    assert "docs/limits.md" in refused.value.faults[0].hint


def test_a_name_that_nobody_knows_is_looked_up() -> None:
    """Nothing is promised for it."""
    with pytest.raises(ManyFaultsError) as refused:
        order_of(ORDER | {"robustnes": {}})
    assert "docs/limits.md" not in refused.value.faults[0].hint
