"""The page's files as they are served: types, versions, what may be kept, what guards them."""

import base64
import gzip
import hashlib
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from broker.settings.services.page import PageSettings
from services.app import create_app
from services.page.files import FOLDER, PageFiles
from services.page.headers import VIEWER_STYLE
from tests.support.paths import ROOT

GUARDS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; "
        "style-src 'self' 'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='; "
        "img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; font-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types default"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def test_page_and_files_are_guarded_and_need_no_key(keyed: TestClient) -> None:
    """The whole set of headers on the page and on a script, which may be a worker's own page."""
    version = PageFiles.read().version
    for path in ("/", f"/page/{version}/vendor/preact.js"):
        answer = keyed.get(path)
        assert answer.status_code == 200
        assert GUARDS.items() <= dict(answer.headers).items()


def test_the_page_is_asked_for_each_time_and_its_files_once(api: TestClient) -> None:
    """The version in the path changes with the files, so that a browser may keep them for ever."""
    version = PageFiles.read().version
    assert api.get("/").headers["cache-control"] == "no-store"
    script = api.get(f"/page/{version}/vendor/preact.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.content == (FOLDER / "vendor" / "preact.js").read_bytes()
    assert "{{version}}" not in api.get("/").text
    assert api.head("/").headers["content-type"] == "text/html; charset=utf-8"


def test_a_file_is_compressed_for_those_who_take_it(api: TestClient) -> None:
    """The same bytes once unpacked, and a cache is told that there are two forms."""
    path = f"/page/{PageFiles.read().version}/vendor/openseadragon.js"
    packed = api.get(path, headers={"accept-encoding": "br, gzip"})
    plain = api.get(path, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < 0.35 * len(plain.content)
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "name",
    ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "vendor/../../app.py", "index.html", "vendor",
     "/etc/passwd", "%00", "vendor\\preact.js", "VENDOR/preact.js"],
    ids=range(10),
)  # fmt: skip
def test_nothing_but_the_files_is_served(api: TestClient, name: str) -> None:
    """No path leads out of the folder: a name is looked up in a table."""
    answer = api.get(f"/page/{PageFiles.read().version}/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_another_version_is_not_there(api: TestClient) -> None:
    """A page that was open during an update never gets files of two versions."""
    answer = api.get("/page/0123456789abcdef/vendor/preact.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "private, no-cache")


def test_the_version_is_a_digest_of_all_files(tmp_path: Path) -> None:
    """It stays the same for the same files, and changes with a byte, a name or a new file."""
    (tmp_path / "index.html").write_text("<script src='page/{{version}}/a.js'></script>")
    (tmp_path / "a.js").write_text("1")
    (tmp_path / ".hidden").write_text("not served")
    first = PageFiles.read(tmp_path)
    assert first == PageFiles.read(tmp_path)
    assert f"page/{first.version}/a.js" in first.index.content.decode()
    assert set(first.assets) == {"a.js"}
    (tmp_path / "a.js").write_text("2")
    second = PageFiles.read(tmp_path)
    (tmp_path / "a.js").rename(tmp_path / "b.js")
    third = PageFiles.read(tmp_path)
    assert len({first.version, second.version, third.version}) == 3
    compressed = PageFiles.read(FOLDER).assets["vendor/tus.js"].compressed
    assert compressed
    assert gzip.decompress(compressed) == (FOLDER / "vendor/tus.js").read_bytes()


def test_the_policy_names_the_style_that_the_viewer_makes() -> None:
    """OpenSeadragon adds one style element; an update with another text needs another digest."""
    script = (ROOT / "services" / "web" / "vendor" / "openseadragon.js").read_text()
    made = script.count('createElement("style")')
    texts = re.findall(r'\.textContent="(@media[^"]*)"', script)
    assert (made, len(texts)) == (1, 1)
    digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
    assert f"sha256-{digest}" == VIEWER_STYLE


def test_a_site_may_embed_the_page_where_the_settings_say_so(
    config: Config, store: OrderStore
) -> None:
    """Only these sites, and everything else of the policy stays."""
    sites = ["https://pacs.hospital.example", "https://*.ward.example:8443"]
    embedded = load(**config.model_dump() | {"services": {"page": {"frame_ancestors": sites}}})
    api = TestClient(create_app(embedded, store), base_url="http://127.0.0.1:8000")
    policy = api.get("/").headers["content-security-policy"]
    assert policy == GUARDS["content-security-policy"].replace(
        "frame-ancestors 'none'", f"frame-ancestors {sites[0]} {sites[1]}"
    )


@pytest.mark.parametrize(
    "site",
    ["*", "pacs.example", "https://pacs.example/viewer", "https://a.example; script-src *",
     "https://a.example 'self'", "javascript://a.example", "https://A.example", ""],
    ids=range(8),
)  # fmt: skip
def test_only_an_origin_may_embed_the_page(site: str) -> None:
    """A setting cannot open the policy by accident."""
    with pytest.raises(ValidationError, match="is the origin of a site"):
        PageSettings.model_validate({"frame_ancestors": [site]})
