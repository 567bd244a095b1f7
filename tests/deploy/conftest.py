"""Each overlay in turn."""

import pytest

from tests.support.kubernetes_objects import Object
from tests.support.kustomize import OVERLAYS, rendered


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return rendered(str(request.param))
