"""Settings of the locator and of decoding: what cannot work stops the start; secrets stay
hidden."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from broker.orders.source import UrlSource
from broker.settings.config import ConfigError, load
from broker.settings.locator import HttpLocator, MapLocator

KEY = "5ecre7"
BINDAAS: dict[str, Any] = {
    "type": "http",
    "url": "http://data:9099/services/getFileLocationByIID?TCGAId={case_id}",
    "query": {"api_key": KEY},
    "location": "/0/file-location",
    "source": {"type": "image_server", "url": "http://oss:5000{location}", "protocol": "iiif"},
}
PATHS = {"source": {"type": "path", "path": "/slides{location}"}}


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("SLIDELANE_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "config.json"
    path.write_text("{}")
    monkeypatch.setenv("SLIDELANE_CONFIG", str(path))
    return path


def a_map(**source: Any) -> dict[str, Any]:
    return {"type": "map", "cases": {"S26-1": source}}


@pytest.mark.parametrize(
    ("locator", "message"),
    [
        ({"type": "ftp"}, r"worker\.locator: "),
        (BINDAAS | {"url": "http://data:9099/find"}, r"worker\.locator\.url must hold \{case_id\}"),
        (BINDAAS | {"url": "http://{case_id}.example/"}, r"worker\.locator\.url must hold"),
        (BINDAAS | {"url": "http://a.example/#{case_id}"}, r"worker\.locator\.url must hold"),
        (BINDAAS | {"url": "data/{case_id}"}, r"worker\.locator\.url: "),
        (BINDAAS | {"location": "file-location"}, r"worker\.locator\.location: "),
        (BINDAAS | {"mpp": "/0/~2"}, r"worker\.locator\.mpp: "),
        (BINDAAS | {"headers": {"X-Key": f"{KEY}\r\nHost: x"}}, r"worker\.locator\.headers hold"),
        (BINDAAS | {"headers": {"X Key": KEY}}, r"worker\.locator\.headers\.X Key"),
        (BINDAAS | {"source": {"type": "url", "url": "http://oss/a"}}, r"must hold \{location\}"),
        (
            BINDAAS | {"source": {"type": "url", "url": "http://{location}/a"}},
            r"worker\.locator\.source, filled,",
        ),
        (
            BINDAAS | {"source": {"type": "case", "case_id": "{location}"}},
            r"worker\.locator\.source, filled,",
        ),
        (
            BINDAAS | {"url": "http://10.0.0.1/{case_id}"},
            r"worker\.locator\.url: 10\.0\.0\.1 .* broker\.allow_hosts",
        ),
        (
            BINDAAS | {"source": {"type": "url", "url": "http://127.1{location}"}},
            r"worker\.locator\.source\.url: 127\.1 .* broker\.allow_hosts",
        ),
        (BINDAAS | PATHS, r"worker\.slides\.roots"),
        (a_map(type="path", path="/slides/a.svs"), r"worker\.slides\.roots"),
        (
            a_map(type="url", url="http://localhost/a"),
            r"worker\.locator\.cases\.S26-1\.url: .* broker\.allow_hosts",
        ),
        (a_map(type="case", case_id="S26-2"), r"worker\.locator\.cases\.S26-1"),
    ],
)
def test_a_locator_that_cannot_work_stops_the_start(locator: dict[str, Any], message: str) -> None:
    """The key is named; no key of a service is repeated."""
    with pytest.raises(ConfigError, match=message) as caught:
        load(worker={"locator": locator})
    assert KEY not in str(caught.value)


def test_the_locators_of_the_field_are_taken() -> None:
    """Bindaas with an image server, `Slide/find` with paths, a service that signs URLs, a table."""
    slides = {"roots": ["/slides"]}
    find = (
        BINDAAS
        | PATHS
        | {"url": "http://ca:4010/data/Slide/find?name={case_id}", "location": "/0/location"}
    )
    signing = BINDAAS | {"location": "/url", "source": {"type": "url", "url": "{location}"}}
    for locator in (BINDAAS, find, signing):
        assert isinstance(
            load(worker={"slides": slides, "locator": locator}).worker.locator, HttpLocator
        )
    table = load(
        worker={"locator": a_map(type="url", urls=["https://a.example/1", "https://a.example/2"])}
    )
    assert isinstance(table.worker.locator, MapLocator)
    assert isinstance(table.worker.locator.cases["S26-1"], UrlSource)


def test_the_locators_key_comes_from_a_file_and_is_never_shown(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest stands in config.json; a key of digits stays the text it is."""
    (tmp_path / "key").write_text("12345\n")
    config_file.write_text(json.dumps({"worker": {"locator": BINDAAS | {"query": {}}}}))
    monkeypatch.setenv("SLIDELANE_WORKER__LOCATOR__QUERY__API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("SLIDELANE_WORKER__LOCATOR__HEADERS__AUTHORIZATION", f"Bearer {KEY}")
    config = load()
    locator = config.worker.locator
    assert isinstance(locator, HttpLocator)
    assert locator.query["api_key"].get_secret_value() == "12345"
    assert locator.headers["authorization"].get_secret_value() == f"Bearer {KEY}"
    shown = f"{config!r} {config.model_dump_json()}"
    assert KEY not in shown
    assert "12345" not in shown


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"decode_s": 301}, r"worker\.limits\.decode_s must not exceed worker\.limits\.stall_s"),
        ({"stall_s": 59}, r"worker\.limits\.decode_s must not exceed worker\.limits\.stall_s"),
        ({"decode_s": 0}, r"worker\.limits\.decode_s"),
        ({"decode_bytes": 2**29 - 1}, r"worker\.limits\.decode_bytes"),
    ],
)
def test_limits_that_could_never_hold_stop_the_start(limits: dict[str, float], named: str) -> None:
    """One read may not last longer than a stall, nor a decoder live in less memory than it is made
    of."""
    with pytest.raises(ConfigError, match=named):
        load(worker={"limits": limits})
