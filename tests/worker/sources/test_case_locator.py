"""A case becomes the address of its slide, whatever the service that is asked answers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from broker.errors import OrderError, SlidelaneError, TemporaryError
from broker.orders.source import Located, PathSource
from broker.settings.locator import Locator, MapLocator
from tests.support.downloads import status
from tests.support.slide_server import Answer, Listener, SlideServer, drip
from worker.http_session import session
from worker.sources.case_locator import locate

KEY = "5ecre7-key"
BINDAAS: dict[str, Any] = {
    "query": {"api_key": KEY},
    "location": "/0/file-location",
    "source": {"type": "image_server", "url": "http://oss:5000{location}", "protocol": "iiif"},
}
SLIDE = b'[{"file-location": "/data/images/a b.svs", "mpp": "0.2527"}]'


@pytest.fixture
def origin() -> Iterator[SlideServer]:
    with SlideServer() as running:
        yield running


def asking(origin: SlideServer, path: str = "/find?id={case_id}", **more: Any) -> Any:
    return TypeAdapter(Locator).validate_python(
        BINDAAS | {"type": "http", "url": origin.url(path)} | more
    )


def found(
    origin: SlideServer,
    answer: Answer,
    case_id: str = "S26-1",
    slide: str | None = None,
    **more: Any,
) -> tuple[Located, float | None]:
    origin.answers["/find"] = answer
    with session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2) as http:
        return locate(case_id, asking(origin, **more), http, Listener(), slide=slide)


def refusal(
    origin: SlideServer,
    answer: Answer,
    case_id: str = "S26-1",
    slide: str | None = None,
    **more: Any,
) -> SlidelaneError:
    with pytest.raises(SlidelaneError) as caught:
        found(origin, answer, case_id, slide, **more)
    assert KEY not in f"{caught.value.problem} {caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__ or KEY not in repr(caught.value.__context__)
    return caught.value


def test_the_query_of_bindaas_becomes_a_place_on_the_image_server(origin: SlideServer) -> None:
    """The key goes along; the location is percent-encoded into the template."""
    source, mpp = found(origin, status(200, SLIDE))
    assert source.addresses == (("url", "http://oss:5000/data/images/a%20b.svs"),)
    assert mpp is None
    assert origin.asked[0][0] == f"/find?id=S26-1&api_key={KEY}"


def test_the_slide_of_camicroscope_is_a_path_with_its_microns(origin: SlideServer) -> None:
    """`Slide/find` answers location and mpp, the latter as text; headers carry the token."""
    more: dict[str, Any] = {
        "headers": {"Authorization": f"Bearer {KEY}"},
        "source": {"type": "path", "path": "/slides{location}"},
    }
    source, mpp = found(origin, status(200, SLIDE), mpp="/0/mpp", query={}, **more)
    assert isinstance(source, PathSource)
    assert (source.path, mpp) == ("/slides/data/images/a b.svs", 0.2527)
    assert origin.asked[0][1]["Authorization"] == f"Bearer {KEY}"


def test_a_whole_url_is_taken_as_it_was_answered(origin: SlideServer) -> None:
    """A service that signs URLs itself is passed on, query and all."""
    url = "https://bucket.example/a%20b.svs?X-Amz-Signature=1"
    answer = status(200, json.dumps({"a/b": {"~": url}}).encode())
    source, _ = found(
        origin, answer, location="/a~1b/~0", source={"type": "url", "url": "{location}"}
    )
    assert source.addresses == (("url", url),)


def test_a_table_answers_without_asking_anybody() -> None:
    """What is in `cases` is the source; what is not, is not found."""
    table = {
        "type": "map",
        "cases": {"S26-1": {"type": "url", "urls": ["https://a.example/1", "https://a.example/2"]}},
    }
    locator = MapLocator.model_validate(table)
    with session((), connect_timeout_s=2, read_timeout_s=2) as http:
        assert locate("S26-1", locator, http, Listener()) == (locator.cases["S26-1"], None)
        with pytest.raises(OrderError, match="the locator knows no case 'S26-2'"):
            locate("S26-2", locator, http, Listener())
        with pytest.raises(OrderError, match="no locator"):
            locate("S26-1", None, http, Listener())


@pytest.mark.parametrize(
    ("path", "case_id", "asked"),
    [
        ("/find?id={case_id}", "a&id=b#c?d%26", ["/find?id=a%26id%3Db%23c%3Fd%2526&"]),
        ("/find?id={case_id}&x=1", "ß +", ["/find?id=%C3%9F%20%2B&x=1&"]),
        ("/{case_id}", "find?a=..", ["/find%3Fa%3D..?"]),
        ("/{case_id}/x", "..", []),
        ("/{case_id}/x", ".", []),
    ],
)
def test_a_case_id_cannot_leave_its_place_in_the_url(
    origin: SlideServer, path: str, case_id: str, asked: list[str]
) -> None:
    """Whatever it holds is percent-encoded; one that would climb is not asked for at all."""
    origin.answers["/find%3Fa%3D.."] = status(404)
    assert refusal(origin, status(404), case_id, url=origin.url(path)).code == "input_not_found"
    assert [seen for seen, _ in origin.asked] == [f"{start}api_key={KEY}" for start in asked]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(200, b"[]"), "knows no case 'S26-1'"),
        (status(200, b" "), "knows no case"),
        (status(204), "knows no case"),
        (status(404, b"no"), "knows no case"),
        (status(200, b'[{"location": "/a"}]'), "no location"),
        (status(200, b'[{"file-location": 5}]'), "no location"),
        (status(200, b'{"0": {"file-location": ""}}'), "no location"),
        (status(200, b'[{"file-location": "/a"}, {"file-location": "/b"}]'), "knows 2 slides"),
        (status(200, b'[{"file-location": "/../admin"}]'), "does not fit"),
        (status(200, b'[{"file-location": ".evil.example/a"}]'), "does not fit"),
        (status(200, b'[{"file-location": "@evil.example/a"}]'), "does not fit"),
        (status(200, b'[{"file-location": "1/a"}]'), "does not fit"),
        (status(200, b"<html>"), "not JSON"),
        (status(200, b"[" * 60_000), "not JSON"),
        (status(200, b"9" * 60_000), "not JSON"),
        (status(200, b" " * 2**16 + b"[]"), "more than 65536 bytes"),
        (status(302, Location="https://elsewhere.example/"), "answered 302"),
    ],
)
def test_an_answer_that_leads_to_no_slide_is_told_as_what_it_is(
    origin: SlideServer, answer: Answer, said: str
) -> None:
    """Nothing found, several found, a location that would change the host, a page, a flood: a clear
    word for each.
    """
    told = refusal(origin, answer)
    assert isinstance(told, OrderError)
    assert (told.code, told.field) == ("input_not_found", "source.case_id")
    assert said in told.detail
    assert told.hint


def test_the_same_slide_named_twice_is_one(origin: SlideServer) -> None:
    """Services that repeat a row do no harm."""
    source, _ = found(origin, status(200, b'[{"file-location": "/a"}, {"file-location": "/a"}]'))
    assert source.addresses[0][1] == "http://oss:5000/a"


SEVERAL = status(
    200,
    json.dumps(
        [
            {"file-location": "/in/A1.svs?X-Amz-Signature=5ec4e7", "mpp": 0.25},
            {"file-location": "/in/B%202.svs", "mpp": 0.5},
            {"file-location": "/old/C.svs"},
            {"file-location": "/in/C.svs"},
        ]
    ).encode(),
)
TABLE = {"type": "map", "cases": {"S26-1": {"type": "path", "path": "/a.svs"}}}


def test_a_case_of_several_slides_offers_the_choice(origin: SlideServer) -> None:
    """The names are listed, and nothing of what signs a URL; one that is named is found, with its
    own microns."""
    told = refusal(origin, SEVERAL)
    assert "knows 4 slides of case 'S26-1': 'A1.svs', 'B 2.svs', 'C.svs'" in told.detail
    assert "slide" in told.hint
    assert "5ec4e7" not in f"{told.problem}"
    source, mpp = found(origin, SEVERAL, slide="B 2.svs", mpp="/0/mpp")
    assert source.addresses[0][1].endswith("B%25202.svs")
    assert mpp == 0.5


@pytest.mark.parametrize(
    ("slide", "said", "field"),
    [
        ("D.svs", "no slide of this name of case 'S26-1'; there is: 'A1.svs', 'B 2.svs'", "slide"),
        ("C.svs", "knows 4 slides", "case_id"),
    ],
)
def test_a_name_that_chooses_no_slide_is_refused(
    origin: SlideServer, slide: str, said: str, field: str
) -> None:
    """One that no slide has, and one that two have."""
    told = refusal(origin, SEVERAL, slide=slide)
    assert isinstance(told, OrderError)
    assert (told.code, told.field) == ("input_not_found", f"source.{field}")
    assert said in told.detail


def test_the_name_of_the_only_slide_must_be_right(origin: SlideServer) -> None:
    """Whoever names a slide means that one, also where there is another alone."""
    alone = status(200, b'[{"file-location": "/in/A1.svs"}]')
    assert found(origin, alone, slide="A1.svs")[0].addresses[0][1].endswith("/in/A1.svs")
    assert "there is: 'A1.svs'" in refusal(origin, alone, slide="B.svs").detail


def test_a_table_has_no_names_to_choose_from() -> None:
    """A name is refused, not passed over."""
    locator = TypeAdapter(Locator).validate_python(TABLE)
    with (
        session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2) as http,
        pytest.raises(OrderError, match="without a name"),
    ):
        locate("S26-1", locator, http, Listener(), slide="a.svs")


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_the_platforms_fault(origin: SlideServer, code: int) -> None:
    """The order is not blamed, nothing is tried again, and the key is not shown."""
    told = refusal(origin, status(code, KEY.encode()))
    assert isinstance(told, OrderError)
    assert (told.code, told.problem.blame) == ("input_unreachable", "platform")
    assert "does not let this service in" in told.detail


@pytest.mark.parametrize(
    ("answer", "waits_s"),
    [
        (status(500), None),
        (status(503, Retry_After="7"), 7.0),
        (status(429, Retry_After="7"), 7.0),
        (status(200, SLIDE[:20], Content_Length=str(len(SLIDE))), None),
        (status(200, b"5\r\n[{", Transfer_Encoding="chunked"), None),
    ],
)
def test_a_service_that_stumbles_is_worth_another_try(
    origin: SlideServer, answer: Answer, waits_s: float | None
) -> None:
    """Overload and a cut line are told apart from a wrong answer, and what it asks
    for is waited.
    """

    def cut(handler: Any) -> None:
        answer(handler)
        handler.hang_up()

    told = refusal(origin, cut)
    assert isinstance(told, TemporaryError)
    assert (told.code, told.retry_after_s) == ("input_unreachable", waits_s)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"])
def test_a_service_that_drips_is_cut_off(origin: SlideServer, head: bytes) -> None:
    """One byte at a time holds no thread for ever."""
    origin.answers["/find"] = drip(head)
    with (
        session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2) as http,
        pytest.raises(TemporaryError),
    ):
        locate("S26-1", asking(origin), http, Listener(), within_s=0.3)


def test_a_service_that_is_not_there_is_worth_another_try(origin: SlideServer) -> None:
    """Nobody listens at the address: later, perhaps."""
    assert isinstance(
        refusal(origin, status(200), url="http://127.0.0.1:9/{case_id}"), TemporaryError
    )


def test_a_locator_in_private_address_space_must_be_listed(origin: SlideServer) -> None:
    """The guard of the network holds for the operator's own services too."""
    with (
        session((), connect_timeout_s=2, read_timeout_s=2) as http,
        pytest.raises(OrderError) as caught,
    ):
        locate("S26-1", asking(origin), http, Listener())
    assert caught.value.code == "host_not_allowed"


@pytest.mark.parametrize(
    "mpp", ["null", '""', '"x"', "-1", "0", "1e400", "true", "[]", '"NaN"', "1000000000"]
)
def test_microns_that_cannot_be_say_nothing(origin: SlideServer, mpp: str) -> None:
    """What loaders write where they do not know is not taken for a size."""
    answer = status(200, f'[{{"file-location": "/a", "mpp": {mpp}}}]'.encode())
    assert found(origin, answer, mpp="/0/mpp")[1] is None
