"""The folders of the server, as the viewer lists them."""

import pytest
from fastapi.testclient import TestClient

from tests.support.viewer_stand_in import ViewerStandIn


def test_roots_and_folders_are_listed(api: TestClient, viewer: ViewerStandIn) -> None:
    """Without `root` the roots, with it one folder, whose path is passed on whole."""
    assert api.get("/v1/slides").json() == {"roots": [{"root": 0, "name": "slides"}]}
    folder = api.get("/v1/slides", params={"root": 0, "path": "ward 7/ä"}).json()
    assert (folder["root"], folder["path"], folder["cursor"]) == (0, "ward 7/ä", None)
    assert folder["entries"][0]["name"] == "a.svs"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("root=0&path=../other", 400),
        ("root=0&path=a/../../b", 400),
        ("root=0&path=/etc", 400),
        ("root=7", 404),
        ("path=a", 422),
        ("root=a", 422),
        ("root=0&folder=a", 422),
    ],
)
def test_other_places_are_refused(
    api: TestClient, viewer: ViewerStandIn, query: str, status: int
) -> None:
    """With a problem that names the field or says what there is."""
    answer = api.get(f"/v1/slides?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
