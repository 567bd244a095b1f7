"""What the viewer says of slides, and which it shows: over its socket, in this process."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.types import Message

from tests.support.paths import SLIDES
from tests.support.slide_caches import files
from tests.support.slides import a_picture, a_slide, a_tiled_tiff
from tests.support.viewer import Viewer, running_viewer, viewer_config
from worker.slide_cache.cache import FOLDER, SlideCache
from worker.slide_cache.reading import ReadSlideCache
from worker.slides.sandbox.client import Sandbox
from worker.viewer.app import Viewer as ViewerApp
from worker.viewer.app import ViewerParts
from worker.viewer.folders import SlideFolders
from worker.viewer.guard import MOST_REQUESTS
from worker.viewer.iiif import ImageRequest
from worker.viewer.slides.allowed_slides import AllowedSlides
from worker.viewer.slides.open_slides import OpenSlides
from worker.viewer.slides.tile_cache import EncodedTiles
from worker.viewer.slides.viewed_slide import SlideOpener

REAL_SLIDE = SLIDES / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slides")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def viewer(folder: Path, data: Path) -> Iterator[Viewer]:
    with running_viewer(viewer_config(data, folder, open_slides=2)) as running:
        yield running


def test_a_slide_is_described_without_its_pixels(viewer: Viewer, folder: Path) -> None:
    """Size, resolution and whose word it is, levels, and the images beside it."""
    path = a_slide(folder / "described.svs", a_picture(256, 128), mpp=0.25)
    answer = viewer.get("/slide", path)
    assert answer.status == 200
    described = answer.json
    assert described.pop("digest").startswith("stat:")
    assert described == {
        "width": 256,
        "height": 128,
        "mpp_x": 0.25,
        "mpp_y": 0.25,
        "mpp_source": "slide",
        "vendor": "aperio",
        "bytes": path.stat().st_size,
        "levels": [
            {"width": 256, "height": 128, "downsample": 1.0},
            {"width": 64, "height": 32, "downsample": 4.0},
        ],
        "associated": ["thumbnail"],
    }


def test_a_name_in_any_letters_is_found(viewer: Viewer, folder: Path) -> None:
    """The header carries it percent-encoded in UTF-8."""
    path = a_tiled_tiff(folder / "Fall №7 + 50%.tif", a_picture(80, 60))
    assert viewer.get("/slide", path).json["width"] == 80
    assert viewer.image(path, "full", "40,").status == 200


def test_an_image_beside_the_slide_is_shown_by_its_name(viewer: Viewer, folder: Path) -> None:
    """As JPEG, whole; a name that the slide does not have is 404 and says which it has."""
    path = a_slide(folder / "beside.svs", a_picture(256, 128))
    answer = viewer.get("/associated/thumbnail.jpg", path)
    assert Image.open(io.BytesIO(answer.body)).size == (64, 32)
    missing = viewer.get("/associated/label.jpg", path)
    assert (missing.status, missing.code) == (404, "not_found")
    assert "thumbnail" in missing.json["hint"]


@pytest.mark.skipif(
    not REAL_SLIDE.exists(), reason="there are no real slides beside the repository"
)
def test_a_real_slide_has_its_label_and_its_pixels(data: Path, tmp_path: Path) -> None:
    """Of Aperio's scanner: what OpenSlide reads of it is what a tile shows."""
    with running_viewer(viewer_config(tmp_path, SLIDES)) as real:
        label = real.get("/associated/label.jpg", REAL_SLIDE)
        assert Image.open(io.BytesIO(label.body)).size == (387, 463)
        tile = real.image(REAL_SLIDE, "512,512,512,512", "max")
        shown = np.asarray(Image.open(io.BytesIO(tile.body))).astype(int)
    import openslide

    with openslide.OpenSlide(REAL_SLIDE) as slide:
        region = slide.read_region((512, 512), 0, (512, 512)).convert("RGB")
    expected = np.asarray(region).astype(int)
    assert abs(shown - expected).mean() < 4


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ("/etc/passwd", 422, "path_not_allowed"),
        ("FOLDER/../../etc/passwd", 422, "path_not_allowed"),
        ("FOLDER/out.svs", 422, "path_not_allowed"),
        ("FOLDER/none.svs", 404, "input_not_found"),
        ("FOLDER/" + "b" * 256 + ".svs", 404, "input_not_found"),
        ("FOLDER/" + "c" * 256 + "/a.svs", 404, "input_not_found"),
        ("FOLDER/" + "d/" * 2500 + "a.svs", 404, "input_not_found"),
        ("FOLDER", 422, "not_a_slide"),
        ("FOLDER/text.svs", 422, "not_a_slide"),
        ("FOLDER/cut.svs", 422, "slide_unreadable"),
        ("DATA/shelf/parts/x", 410, "slide_gone"),
        ("DATA/shelf/lock", 410, "slide_gone"),
        ("DATA/shelf/" + "ab/ab" + "0" * 62 + "/slide.svs", 410, "slide_gone"),
        ("DATA/redis/url", 422, "path_not_allowed"),
        ("relative.svs", 400, "request_malformed"),
        ("%00", 400, "request_malformed"),
        ("/%ff", 400, "request_malformed"),
        ("/" + "a" * 13_000, 400, "request_malformed"),
        ("", 400, "request_malformed"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_may_not_be_seen_or_is_no_slide_is_refused(
    viewer: Viewer, folder: Path, data: Path, header: str, status: int, code: str
) -> None:
    """With the code that an order of the same path would fail with."""
    (folder / "out.svs").unlink(missing_ok=True)
    (folder / "out.svs").symlink_to("/etc/hostname")
    (folder / "text.svs").write_text("no slide")
    whole = a_slide(folder / "whole.svs", a_picture(256, 256)).read_bytes()
    (folder / "cut.svs").write_bytes(whole[: len(whole) // 3])
    text = header.replace("FOLDER", quote(str(folder))).replace("DATA", quote(str(data)))
    answer = viewer.get("/slide", headers={"Slide-Path": text})
    assert (answer.status, answer.code) == (status, code)
    assert viewer.image(folder / "whole.svs", "full", "max").status == 200


def test_without_a_header_there_is_no_slide(viewer: Viewer) -> None:
    """400, on each address of a slide."""
    for address in ("/slide", "/iiif/info.json?id=x", "/iiif/full/max/0/default.jpg"):
        assert viewer.get(address).status == 400


def test_a_slide_of_the_slide_cache_is_shown_and_pinned(viewer: Viewer, data: Path) -> None:
    """It is not evicted while it is open; once it was removed, it is gone: 410."""
    cache = SlideCache(data / FOLDER, 10**9)
    content = a_slide(data / "fetched.svs", a_picture(128, 128)).read_bytes()
    with cache.partial_file() as partial:
        partial.reserve(len(content))
        partial.write(content)
        with cache.put(partial, ".svs") as local:
            path = local.path
    described = viewer.get("/slide", path).json
    assert (described["digest"], described["bytes"]) == (local.digest, len(content))
    cache.remove_unused(0)
    assert path.name in files(data / FOLDER), "it is open"
    tile = viewer.image(path, "0,0,64,64", "max")
    assert (tile.status, tile.headers["cache-control"]) == (
        200,
        "private, max-age=86400, immutable",
    )
    wrong = path.with_name("other.svs")
    assert (viewer.get("/slide", wrong).status, wrong.exists()) == (410, False)


def test_a_slide_that_was_evicted_is_gone(folder: Path, tmp_path: Path) -> None:
    """Its tiles are not shown from memory, for the slide may have been deleted on purpose."""
    data = tmp_path / "data"
    cache = SlideCache(data / FOLDER, 10**9)
    content = a_slide(tmp_path / "fetched.svs", a_picture(128, 128)).read_bytes()
    with running_viewer(viewer_config(data, folder, idle_s=0.1)) as running:
        with cache.partial_file() as partial:
            partial.reserve(len(content))
            partial.write(content)
            with cache.put(partial, ".svs") as local:
                path = local.path
        assert running.image(path, "full", "max").status == 200
        path.unlink()
        answer = running.image(path, "full", "max")
        assert (answer.status, answer.code) == (410, "slide_gone")


def test_another_slide_in_its_place_is_not_shown(viewer: Viewer, folder: Path) -> None:
    """410 on every address, where the request says which slide is meant; else the new one."""
    path = a_slide(folder / "replaced.svs", a_picture(128, 128))
    meant = {"Slide-Digest": viewer.get("/slide", path).json["digest"]}
    tile = "/iiif/full/64,/0/default.jpg"
    first = viewer.get(tile, path, headers=meant)
    assert first.status == 200
    assert viewer.get("/digest", path, headers=meant).json == {"digest": meant["Slide-Digest"]}
    path.unlink()
    a_slide(path, a_picture(192, 128))
    for address in ("/slide", "/digest", "/iiif/info.json?id=x", tile, "/associated/thumbnail.jpg"):
        answer = viewer.get(address, path, headers=meant)
        assert (answer.status, answer.code) == (410, "slide_gone")
    known = {"If-None-Match": first.headers["etag"]}
    assert viewer.get(tile, path, headers=known).status == 200, "it is no longer what is kept"


def test_folders_are_listed_over_http(viewer: Viewer, folder: Path) -> None:
    """By the number of their root; a path that climbs is 400, an unknown root 404."""
    (folder / "case 1").mkdir(exist_ok=True)
    a_tiled_tiff(folder / "case 1" / "ä.tif", a_picture(64, 64))
    assert viewer.get("/folders").json == {"roots": [{"root": 0, "name": folder.name}]}
    page = viewer.get(f"/folders/0?path={quote('case 1')}").json
    assert [(entry["name"], entry["kind"]) for entry in page["entries"]] == [("ä.tif", "slide")]
    assert viewer.get("/folders/0?path=..").status == 400
    assert viewer.get("/folders/0?path=/etc").status == 400
    assert viewer.get("/folders/0?cursor=zzz").status == 400
    for address in ("/folders/7", "/folders/0?path=nowhere", "/folders/-1", "/folders/x"):
        assert viewer.get(address).status == 404


def test_only_get_and_head_are_answered(viewer: Viewer, folder: Path) -> None:
    """Nothing can be changed here."""
    path = a_tiled_tiff(folder / "methods.tif", a_picture(64, 64))
    for method in ("POST", "PUT", "DELETE"):
        answer = viewer.get("/slide", path, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    head = viewer.get("/iiif/full/max/0/default.jpg", path, "HEAD")
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", "image/jpeg")
    assert viewer.get("/nowhere").code == "not_found"
    assert MOST_REQUESTS >= 256


def test_a_caller_that_has_left_costs_no_tile(folder: Path, tmp_path: Path) -> None:
    """What waits behind a slow slide is not made for somebody who looks elsewhere by now."""
    path = a_slide(folder / "left.svs", a_picture(256, 256))
    made: list[str] = []

    class CountedTiles(EncodedTiles):
        def put(self, etag: str, tile: bytes) -> None:
            made.append(etag)
            super().put(etag, tile)

    async def run() -> int:
        sandbox = Sandbox(1)
        opener = SlideOpener(ReadSlideCache(tmp_path / "shelf"), sandbox, 30)
        open_slides = OpenSlides(opener, 1, 1)
        allowed = AllowedSlides((folder,), ReadSlideCache(tmp_path / "shelf"))
        parts = ViewerParts(allowed, SlideFolders(()), open_slides, CountedTiles(10**6), 60)
        application = ViewerApp(parts).application()
        local = allowed.find(quote(str(path)))
        async with open_slides.use(local) as opened, opened.turn(ImageRequest(0, 0, 8, 8, 8, 8)):
            asked = asyncio.create_task(status_of_left(application, path))
            await asyncio.sleep(0)
        status = await asyncio.wait_for(asked, 60)
        await open_slides.close()
        return status

    assert asyncio.run(run()) == 499
    assert made == []


async def status_of_left(application: Starlette, slide: Path) -> int:
    """Ask for a tile as somebody whose connection is closed meanwhile; return the status."""
    address = "/iiif/full/max/0/default.jpg"
    scope = {
        "type": "http",
        "method": "GET",
        "path": address,
        "raw_path": address.encode(),
        "query_string": b"",
        "headers": [(b"slide-path", quote(str(slide)).encode())],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return int(sent[0]["status"])
