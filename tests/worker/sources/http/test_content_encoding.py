"""What a server encodes on its way is decoded, for every kind of source, or refused by name."""

import gzip
import hashlib
import io
import json
import threading
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from pydantic import TypeAdapter
from urllib3 import HTTPResponse

from broker.errors import OrderError, TemporaryError
from broker.orders.request import ScanRequest
from broker.orders.source import PathSource
from broker.settings.config import WorkerSettings
from broker.settings.locator import Locator
from tests.support.downloads import SLIDE, SlideFetcher, kind_of, one_after_another, status
from tests.support.image_server import ImageServer
from tests.support.image_server_fetch import ImageServerFetcher, region
from tests.support.multi_file_slides import MultiFileFetcher, a_series, zipped
from tests.support.range_server import Reply
from tests.support.remote_regions import RegionFetcher, noise_slide
from tests.support.slide_server import File, Handler, Listener, SlideServer
from tests.support.slides import a_picture
from worker.http_session import session
from worker.progress import StopWork
from worker.slides.sandbox.client import Sandbox
from worker.sources import fetch
from worker.sources.case_locator import locate
from worker.sources.http import content_encoding

GZIPPED = gzip.compress(SLIDE, 1, mtime=0)


def raw_deflate(content: bytes) -> bytes:
    """Deflate without the header of zlib, as some servers send it."""
    deflate = zlib.compressobj(1, wbits=-15)
    return deflate.compress(content) + deflate.flush()


def members(content: bytes) -> bytes:
    """gzip in two members, filled up with zeros."""
    middle = len(content) // 2
    return gzip.compress(content[:middle], 1) + gzip.compress(content[middle:], 1) + bytes(500)


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[SlideFetcher]:
    with SlideServer() as origin:
        yield SlideFetcher(origin, tmp_path)


def encoded(content: bytes, coding: str = "gzip", **more: Any) -> File:
    headers = {"Content-Encoding": coding} | more.pop("headers", {})
    return File(content, headers=headers, **more)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("gzip", GZIPPED),
        ("X-GZIP ", GZIPPED),
        ("gzip", members(SLIDE)),
        ("deflate", zlib.compress(SLIDE, 1)),
        ("deflate", raw_deflate(SLIDE)),
        ("deflate, gzip", gzip.compress(zlib.compress(SLIDE, 1), 1)),
        ("identity, gzip", GZIPPED),
        ("identity", SLIDE),
        ("aws-chunked", SLIDE),
    ],
)
def test_a_coding_is_taken_off(
    fetcher: SlideFetcher, coding: str, content: bytes, *, chunked: bool
) -> None:
    """Whatever was asked for: the slide is what the server has encoded."""
    assert fetcher.fetch(fetcher.serve(encoded(content, coding, chunked=chunked))) == SLIDE
    assert fetcher.headers("Accept-Encoding") == ["identity"]


def test_an_encoded_slide_is_never_fetched_in_ranges(fetcher: SlideFetcher) -> None:
    """They would be ranges of the encoded bytes: after a cut the whole is requested again."""
    assert fetcher.fetch(fetcher.serve(encoded(GZIPPED, cuts=[700_000, 1_500_000]))) == SLIDE
    assert fetcher.headers("Range") == [None, None, None]


def test_a_large_encoded_slide_is_fetched_over_one_connection(fetcher: SlideFetcher) -> None:
    """Not in parallel, although the server offers ranges of the encoded bytes."""
    fetcher.limit_bytes = 19_000_000
    slide = SLIDE * 9
    assert fetcher.fetch(fetcher.serve(encoded(gzip.compress(slide, 1)))) == slide
    assert fetcher.headers("Range") == [None]


def test_a_rest_that_comes_encoded_is_not_joined(fetcher: SlideFetcher) -> None:
    """The first answer was plain and was cut; the range that follows is of encoded bytes."""
    plain = File(SLIDE, cuts=[700_000])
    assert fetcher.fetch(fetcher.serve(one_after_another(plain, encoded(GZIPPED)))) == SLIDE
    assert fetcher.headers("Range") == [None, "bytes=700000-", None]


def test_an_unchanged_encoded_slide_is_not_fetched_again(fetcher: SlideFetcher) -> None:
    """A strong ETag is of the encoded bytes, which stand for one slide."""
    url = fetcher.serve(encoded(GZIPPED))
    assert fetcher.fetch(url) == fetcher.fetch(url) == SLIDE
    assert fetcher.headers("If-None-Match") == [None, '"v1"']


@pytest.mark.parametrize(
    ("content", "coding", "reason"),
    [
        (GZIPPED[:-1000], "gzip", "ended in the middle of its data"),
        (GZIPPED[:-8] + bytes(8), "gzip", "is damaged"),
        (GZIPPED + b"more", "gzip", "is damaged"),
        (SLIDE, "gzip", "is damaged"),
        (zlib.compress(SLIDE, 1)[:-2], "deflate", "ended in the middle of its data"),
        (zlib.compress(SLIDE, 1) + b"more", "deflate", "goes on after the end"),
        (zlib.compress(GZIPPED[:-1000], 1), "gzip, deflate", "ended in the middle of its data"),
    ],
)
def test_a_coding_that_is_cut_or_damaged_is_no_slide(
    fetcher: SlideFetcher, content: bytes, coding: str, reason: str
) -> None:
    """All the bytes came that the server announced, and the slide is not whole."""
    error = fetcher.refusal(fetcher.serve(encoded(content, coding, etag="")))
    assert (kind_of(error), error.code) == (TemporaryError, "input_unreachable")
    assert "Content-Encoding" in error.detail
    assert reason in error.detail


def test_an_empty_body_has_no_coding(fetcher: SlideFetcher) -> None:
    """It is no slide either."""
    error = fetcher.refusal(fetcher.serve(encoded(b"", etag="")))
    assert "sent nothing" in error.detail


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip,gzip,gzip,gzip"])
def test_a_coding_that_is_not_known_is_named(fetcher: SlideFetcher, coding: str) -> None:
    """Its bytes are not taken for those of a broken slide."""
    error = fetcher.refusal(fetcher.serve(encoded(SLIDE, coding)))
    assert (kind_of(error), error.code) == (OrderError, "input_not_found")
    assert f"Content-Encoding {coding!r}" in error.detail
    assert "gzip or deflate" in error.hint


def test_the_limit_is_of_decoded_bytes(fetcher: SlideFetcher) -> None:
    """A small answer may hold a large file: it is refused when the limit is reached."""
    fetcher.limit_bytes = 1_000_000
    bomb = gzip.compress(b"II*\0" + bytes(200_000_000), 1)
    assert len(bomb) < fetcher.limit_bytes
    assert fetcher.refusal(fetcher.serve(encoded(bomb))).code == "input_too_large"


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
def test_one_read_takes_no_more_memory_than_it_returns(coding: str) -> None:
    """However many bytes an encoded one stands for, in each of several codings."""
    content = bytes(30_000_000)
    body = content
    for _ in coding.split(","):
        body = gzip.compress(body, 9)
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Encoding"] = coding
    response.raw = HTTPResponse(body=io.BytesIO(body), preload_content=False)
    content_encoding.decode(response)
    received = 0
    while data := response.raw.read1(100_000):
        assert len(data) <= 100_000
        received += len(data)
    assert received == len(content)


@pytest.mark.parametrize(("of", "is_right"), [(GZIPPED, True), (SLIDE, True), (b"another", False)])
def test_a_servers_checksum_is_of_the_encoded_bytes(
    fetcher: SlideFetcher, of: bytes, *, is_right: bool
) -> None:
    """So says RFC 9530; that of an object store may be of the file, where a server in between
    has encoded it. Anything else is refused."""
    digest = b64encode(hashlib.sha256(of).digest()).decode()
    url = fetcher.serve(encoded(GZIPPED, headers={"Repr-Digest": f"sha-256=:{digest}:"}))
    if is_right:
        assert fetcher.fetch(url) == SLIDE
    else:
        assert "Repr-Digest" in fetcher.refusal(url).detail


def test_googles_hash_of_a_gzipped_object_is_of_what_it_sends(fetcher: SlideFetcher) -> None:
    """The object is stored and sent in gzip: its hash can be compared."""
    digest = b64encode(hashlib.md5(b"another", usedforsecurity=False).digest()).decode()
    headers = {"x-goog-stored-content-encoding": "gzip", "x-goog-hash": f"md5={digest}"}
    error = fetcher.refusal(fetcher.serve(encoded(GZIPPED, headers=headers)))
    assert "x-goog-hash" in error.detail


def test_an_orders_checksum_is_of_the_decoded_file(fetcher: SlideFetcher) -> None:
    """It is the slide's, whatever a server makes of it on its way."""
    url = fetcher.serve(encoded(GZIPPED))

    def fetched(sha256: str) -> bytes:
        source = {"type": "url", "url": url, "sha256": sha256}
        scan = ScanRequest.model_validate({"id": "1", "source": source})
        with session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2) as http:
            slides = fetch.SlideFetcher(
                fetcher.slide_cache, http, Sandbox(threads=1), WorkerSettings()
            )
            with slides.fetch(scan, None, Listener()) as slide:
                return slide.path.read_bytes()

    assert fetched(hashlib.sha256(SLIDE).hexdigest()) == SLIDE
    with pytest.raises(OrderError, match="has the SHA-256") as refused:
        fetched(hashlib.sha256(GZIPPED).hexdigest())
    assert refused.value.code == "input_differs"


def test_the_reason_of_a_refusal_is_decoded_too(fetcher: SlideFetcher) -> None:
    """A storage may encode its error document; one in an unknown coding is still a refusal."""
    document = gzip.compress(b"<Error><Code>ExpiredToken</Code></Error>")
    error = fetcher.refusal(fetcher.serve(status(400, document, Content_Encoding="gzip")))
    assert error.code == "input_expired"
    assert "400 ExpiredToken" in error.detail
    error = fetcher.refusal(fetcher.serve(status(404, b"?", Content_Encoding="br")))
    assert (error.code, "404" in error.detail) == ("input_not_found", True)


def test_a_fetch_of_an_encoded_slide_can_be_stopped(fetcher: SlideFetcher) -> None:
    """In the middle of its data, and nothing of it is left."""

    slide = encoded(GZIPPED, gate=threading.Event())
    assert slide.gate is not None
    opens = slide.gate.set
    with pytest.raises(StopWork):
        fetcher.fetch(fetcher.serve(slide), Listener(lambda done: done > 0 and not opens()))
    assert fetcher.files() == []


def bend_every(coding: str, encode: Callable[[bytes], bytes]) -> Callable[[int, Reply], None]:
    """Encode every answer with a body, ranges too."""

    def bend(_: int, reply: Reply) -> None:
        if reply.body:
            reply.body = encode(reply.body)
            reply.headers["Content-Encoding"] = coding

    return bend


def test_a_region_is_read_from_the_whole_file_where_ranges_are_encoded(tmp_path: Path) -> None:
    """A range of encoded bytes is no part of a TIFF."""
    content = noise_slide(tmp_path, "generic").read_bytes()
    with RegionFetcher.open(tmp_path / "cache") as regions:
        url = regions.serve(content, bend_every("gzip", lambda body: gzip.compress(body, 0)))
        assert regions.fetch(url) is None
        assert regions.fetch_whole(url).path.read_bytes() == content
        url = regions.serve(content, bend_every("br", bytes), "/other.svs")
        with pytest.raises(OrderError, match="Content-Encoding 'br'"):
            regions.fetch(url)


def test_the_files_of_a_series_and_zips_are_decoded(tmp_path: Path) -> None:
    """The same slide comes of encoded files as of plain ones."""
    files = a_series(tmp_path / "series", a_picture(96, 64))
    digests = []
    for number, coding in enumerate(("identity", "gzip")):
        encode = gzip.compress if coding == "gzip" else bytes
        with SlideServer() as origin:
            fetcher = MultiFileFetcher(origin, tmp_path / f"cache {number}")
            served = files | {"all.zip": zipped(files)}
            for name, content in served.items():
                origin.answers[f"/{name}"] = encoded(encode(content), coding)
            urls = [origin.url(f"/{name}") for name in files]
            with fetcher.series(urls) as series:
                digests.append(series.digest)
            with fetcher.archive(origin.url("/all.zip")) as slide:
                digests.append(slide.digest)
    assert len(set(digests)) == 1


class _EncodingHandler(Handler):
    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        if status == 200:
            body = gzip.compress(body, 1)
            headers["Content_Encoding"] = "gzip"
        super().answer(status, body, **headers)


@pytest.mark.parametrize("protocol", ["iiif", "iip", "deepzoom"])
def test_the_answers_of_an_image_server_are_decoded(tmp_path: Path, protocol: str) -> None:
    """Descriptions and pictures."""
    picture = a_picture(200, 150)
    with ImageServer(picture) as server:
        server.RequestHandlerClass = _EncodingHandler
        fetcher = ImageServerFetcher(
            server, tmp_path, protocol, roi=region(x=10, y=20, width=100, height=80)
        )
        pixels = fetcher.pixels(10, 20, 100, 80)
    assert np.array_equal(pixels, picture[20:100, 10:110])


def test_the_answer_of_a_locator_is_decoded() -> None:
    """Or refused with the name of its coding."""
    body = json.dumps({"path": "/slides/a.svs"}).encode()
    with (
        SlideServer() as origin,
        session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2) as http,
    ):
        locator = TypeAdapter(Locator).validate_python(
            {
                "type": "http",
                "url": origin.url("/find?id={case_id}"),
                "location": "/path",
                "source": {"type": "path", "path": "{location}"},
            }
        )
        origin.answers["/find"] = status(200, gzip.compress(body), Content_Encoding="gzip")
        located, _ = locate("S26-1", locator, http, Listener())
        assert located == PathSource(type="path", path="/slides/a.svs")
        origin.answers["/find"] = status(200, gzip.compress(body)[:-9], Content_Encoding="gzip")
        with pytest.raises(TemporaryError, match="cut its answer short"):
            locate("S26-1", locator, http, Listener())
        origin.answers["/find"] = status(200, body, Content_Encoding="br")
        with pytest.raises(OrderError, match="Content-Encoding 'br'"):
            locate("S26-1", locator, http, Listener())
