"""Links to slides: they open the pixels of one slide for whoever has them, for an hour."""

import time

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from services.slides.links import token_of
from tests.services.slides.conftest import PATH
from tests.support.viewer_stand_in import TILE, ViewerStandIn

CLERK = {"authorization": "Bearer order-key-1"}
TILE_PATH = "0,0,512,512/512,512/0/default.jpg"


def _slide(client: TestClient) -> str:
    body = {"source": {"type": "path", "path": PATH}}
    return str(client.post("/v1/slides", json=body, headers=CLERK).json()["id"])


def test_a_link_opens_one_slide_for_other_viewers(keyed: TestClient, viewer: ViewerStandIn) -> None:
    """Its `info.json` has a base URI below which every address works without key and query."""
    slide_id = _slide(keyed)
    answer = keyed.post(f"/v1/slides/{slide_id}/link", headers=CLERK)
    assert answer.status_code == 201
    link = answer.json()
    assert link["url"].startswith(f"https://slides.example.org/v1/slides/{slide_id}/iiif/")
    info = keyed.get(link["url"])
    assert info.status_code == 200
    assert info.headers["access-control-allow-origin"] == "*"
    tile = keyed.get(f"{info.json()['id']}/{TILE_PATH}")
    assert (tile.content, tile.headers["access-control-allow-origin"]) == (TILE, "*")
    by_query = keyed.get(f"/v1/slides/{slide_id}/iiif/{TILE_PATH}?token={link['token']}")
    assert by_query.content == TILE
    with_key = keyed.get(f"/v1/slides/{slide_id}/iiif/{TILE_PATH}", headers=CLERK)
    assert "access-control-allow-origin" not in with_key.headers


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"x-forwarded-proto": "https"}, "https://inside:8000"),
        ({"x-forwarded-proto": "https, http"}, "https://inside:8000"),
        ({"x-forwarded-proto": "http"}, "http://inside:8000"),
        (
            {"x-forwarded-proto": "https", "x-forwarded-host": "a.example.org:8443, b"},
            "https://a.example.org:8443",
        ),
        ({"x-forwarded-host": "a.example.org"}, "https://a.example.org"),
        ({"x-forwarded-host": "a.example.org/path"}, "https://inside:8000"),
        ({"x-forwarded-host": 'a"><b'}, "https://inside:8000"),
        ({"x-forwarded-host": "user@a.example.org"}, "https://inside:8000"),
    ],
)
def test_a_proxy_says_what_the_caller_asked(
    keyed: TestClient, viewer: ViewerStandIn, headers: dict[str, str], base: str
) -> None:
    """Scheme and host of a link and of `id` are those before the proxy, where they are ones."""
    slide_id = _slide(keyed)
    sent = CLERK | {"host": "inside:8000"} | headers
    link = keyed.post(f"/v1/slides/{slide_id}/link", headers=sent).json()
    path = f"/v1/slides/{slide_id}/iiif"
    assert link["url"].startswith(f"{base}{path}/info.json?token=")
    info = keyed.get(f"{path}/info.json", headers=sent).json()
    assert info["id"] == f"{base}{path}"


def test_a_link_opens_nothing_else(
    keyed: TestClient, viewer: ViewerStandIn, announced: OrderStore
) -> None:
    """Neither another slide, nor other addresses of this one, nor anything after its hour."""
    slide_id = _slide(keyed)
    other = _slide(keyed)
    token = keyed.post(f"/v1/slides/{slide_id}/link", headers=CLERK).json()["token"]
    refused = keyed.get(f"/v1/slides/{other}/iiif/info.json?token={token}")
    assert (refused.status_code, refused.json()["code"]) == (403, "key_refused")
    assert keyed.get(f"/v1/slides/{slide_id}?token={token}").status_code == 401
    assert keyed.get(f"/v1/slides/{slide_id}/label.jpg?token={token}").status_code == 401
    key = announced.viewed_slides.signing_key()
    past = token_of(slide_id, int(time.time()) - 1, key)
    assert keyed.get(f"/v1/slides/{slide_id}/iiif/info.json?token={past}").status_code == 403
    later = token.replace(token.partition(".")[0], str(int(time.time()) + 9999))
    for wrong in (later, "", "x", "1.é"):
        answer = keyed.get(f"/v1/slides/{slide_id}/iiif/info.json", params={"token": wrong})
        assert answer.status_code == 403


def test_a_token_in_the_path_is_not_repeated(keyed: TestClient, viewer: ViewerStandIn) -> None:
    """A problem's `instance` may stand in a log."""
    slide_id = _slide(keyed)
    token = keyed.post(f"/v1/slides/{slide_id}/link", headers=CLERK).json()["token"]
    viewer.slides.clear()
    answer = keyed.get(f"/v1/slides/{slide_id}/iiif/~{token}/info.json")
    assert (answer.status_code, answer.json()["code"]) == (410, "slide_gone")
    assert token not in answer.text
    assert answer.json()["instance"] == f"/v1/slides/{slide_id}/iiif/~…/info.json"
