import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.downloads import SLIDE, SlideFetcher, one_after_another
from tests.support.paths import SLIDES
from tests.support.slide_server import File, Listener, SlideServer, drip
from worker.slides.signatures import suffix


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_slide_is_fetched_whole(fetcher: SlideFetcher, *, chunked: bool) -> None:
    """The cached file is the server's, with or without a Content-Length."""
    listener = Listener()
    assert fetcher.fetch(fetcher.serve(File(SLIDE, chunked=chunked)), listener) == SLIDE
    assert fetcher.files() == ["slide.tif"]
    assert listener.heard[-1] == ("fetching", len(SLIDE), len(SLIDE))
    assert fetcher.headers("Accept-Encoding") == ["identity"]


def test_real_slides_come_through_unchanged(fetcher: SlideFetcher) -> None:
    """Slides of several formats keep every byte and get the suffix of their content."""
    names = {
        "CMU-1-Small-Region.svs": ".tif",
        "openslide-boxes_0.dcm": ".dcm",
        "skimage-ihc.png": ".png",
        "stardist-histo.jpg": ".jpg",
    }
    if not all((SLIDES / name).exists() for name in names):
        pytest.skip("the real slides are not here")
    for name, kind in names.items():
        content = (SLIDES / name).read_bytes()
        assert fetcher.fetch(fetcher.serve(File(content), f"/{name}")) == content
        assert suffix(content[:1024]) == kind


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("TIFF", ".tif"),
        ("PNG", ".png"),
        ("JPEG", ".jpg"),
        ("JPEG2000", ".jp2"),
        ("WEBP", ".webp"),
        ("BMP", ".bmp"),
    ],
)
def test_pictures_are_known_by_their_content(fetcher: SlideFetcher, form: str, kind: str) -> None:
    """An image is downloaded unchanged and gets the suffix of its content, whatever its URL is."""
    made = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 100, 150)).save(made, form)
    assert fetcher.fetch(fetcher.serve(File(made.getvalue()))) == made.getvalue()
    assert fetcher.files() == [f"slide{kind}"]


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"", "an empty file"),
        (b"\n <!DOCTYPE html><p>Sign in", "an HTML page"),
        (b"\xef\xbb\xbf<HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><Error/>', "an XML document"),
        (b'{"error": "no such slide"}', "a JSON document"),
        ("Keine Datei für Sie".encode()[:14], "plain text"),
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
        (b"\x1f\x8b" + bytes(50), "a gzip archive"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "an archive"),
        (b"%PDF-1.7\n\0", "a PDF document"),
        (b'<DataObject ObjectType="DPUfsImport">\n\x04\0', "an iSyntax slide"),
    ],
)
def test_a_200_that_is_no_slide_is_refused_by_name(
    fetcher: SlideFetcher, content: bytes, looks_like: str
) -> None:
    """A page in place of the slide is refused despite its status; the error names its kind."""
    error = fetcher.refusal(fetcher.serve(File(content)))
    assert (error.code, looks_like in error.detail) == ("not_a_slide", True)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"MM\0+", ".tif"),
        (b"II+\0", ".tif"),
        (bytes(128) + b"DICM", ".dcm"),
        (b"ZISRAWFILE" + bytes(20), ".czi"),
        (b"SQLite format 3\0" + bytes(20), ".svslide"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", ".jp2"),
        (b"\xff\x4f\xff\x51\0", ".j2k"),
        (b"BM\0\0", ".bin"),
        (b"RIFF\0\0\0\0WAVE", ".bin"),
        (b"\x80\xff", ".bin"),
    ],
)
def test_unknown_binaries_are_left_for_the_readers_to_judge(head: bytes, kind: str) -> None:
    """Known formats get their suffix, and unknown binary content passes."""
    assert suffix(head) == kind


def test_gigabytes_of_something_else_are_not_fetched(fetcher: SlideFetcher) -> None:
    """An endless HTML page is refused after its first bytes."""
    endless = one_after_another(drip(b"HTTP/1.1 200 OK\r\n\r\n<html>" + b" " * 5000))
    assert fetcher.refusal(fetcher.serve(endless)).code == "not_a_slide"


@pytest.mark.parametrize(
    ("content", "name", "looks_like"),
    [
        (b"\xff\xd8\xff\xe0", "/Slide.MRXS", "the preview of a MIRAX slide"),
        (b"[GENERAL]\r\nSLIDE_VERSION = 01.02\r\n", "/Slidedat.ini", "the index of a MIRAX slide"),
        (
            b"[Virtual Microscope Specimen]\r\nNoLayers=1\r\n",
            "/a.vms",
            "the index of a Hamamatsu slide",
        ),
        (
            b"[Uncompressed Virtual Microscope Specimen]\n",
            "/a.vmu",
            "the index of a Hamamatsu slide",
        ),
    ],
)
def test_one_file_of_a_slide_of_several_asks_for_the_others(
    fetcher: SlideFetcher, content: bytes, name: str, looks_like: str
) -> None:
    """An index or a preview alone is not a slide. The hint says how to give all files."""
    error = fetcher.refusal(fetcher.serve(File(content), name))
    assert (error.code, looks_like in error.detail, "zip_url" in error.hint) == (
        "not_a_slide",
        True,
        True,
    )


def test_a_zip_is_told_to_go_into_zip_url(fetcher: SlideFetcher) -> None:
    """A zip given as `url` is refused with a hint at the field `zip_url`."""
    assert "zip_url" in fetcher.refusal(fetcher.serve(File(b"PK\x03\x04" + bytes(50)))).hint
