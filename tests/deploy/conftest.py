"""Each overlay in turn."""

import pytest

from tests.deploy.objects import Object
from tests.deploy.rendered import OVERLAYS, rendered


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return rendered(str(request.param))
