"""The objects of each overlay, for the tests of deploy/k8s."""

import pytest

from tests.support.kubernetes_objects import Object
from tests.support.kustomize import OVERLAYS, rendered


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """Return the objects of one overlay; the test runs once for each overlay."""
    return rendered(str(request.param))
