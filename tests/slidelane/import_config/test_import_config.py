"""`slidelane import-config`: configurations of DynamicServices, whole, unfinished and hostile."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from broker.orders.named_destination import NamedDestination
from broker.orders.request import OrderRequest
from broker.settings.alone import check_alone
from broker.settings.config import ConfigError, load
from broker.settings.locator import HttpLocator
from slidelane.import_config.errors import ImportProblemsError
from slidelane.import_config.old_file import read
from slidelane.import_config.translation import LOADER, Translation, translate
from tests.support.command_line import slidelane
from tests.support.pages import blocks
from tests.support.pages import read as read_page

KEY = "0b3f6a52-5ecre7"
LOOKUP = "/services/Camicroscope_DataLoader/DataLoader/query/getFileLocationByIID"
DEPLOYED: dict[str, Any] = {
    "orders": {
        "redis": {"host": "jobs", "port": "6379", "channel": "q:events"},
        "kue": {"host": "jobs", "port": "3000", "path": "/job/"},
    },
    "images": {
        "location": {"host": "data", "port": "9099", "path": LOOKUP},
        "imageServer": {"url": "oss:5000", "format": "JPEG"},
        "api_key_file": "configs/apikey.json",
    },
    "annotations": {
        "server": {"host": "loader", "port": "3001", "path": "/submitZipOrder"},
        "redis": {"host": "loader", "port": "6379", "channel": "q:events"},
    },
}
"""A configuration as it is deployed, with ports as text."""
SAMPLE: dict[str, Any] = {
    "orders": {
        "redis": {"host": "QUIP_JOBS", "port": "6379", "channel": "q:events"},
        "kue": {"host": "QUIP_JOBS", "port": "1337", "path": "/job/"},
    },
    "images": {
        "location": {"host": "QUIP_DATA", "port": "9099", "path": LOOKUP},
        "imageServer": {"url": "QUIP_OSS:5000", "format": "JPEG"},
        "api_key_file": "configs/apikey.json",
    },
    "annotations": {
        "server": {"host": "QUIP_LOADER", "port": "6000", "path": "/submitMaskOrder"},
        "redis": {"host": "QUIP_LOADER", "port": "6379", "channel": "q:events"},
    },
}
"""The sample of DynamicServices, before `run.sh` puts hosts into it."""


def translated(tmp_path: Path, document: Any) -> Translation:
    path = tmp_path / "old.json"
    content = document
    if not isinstance(content, bytes):
        content = json.dumps(document).encode()
    path.write_bytes(content)
    return translate(read(path))


def problems(tmp_path: Path, document: Any) -> str:
    with pytest.raises(ImportProblemsError) as raised:
        translated(tmp_path, document)
    return str(raised.value)


def changed(key: str, value: Any) -> dict[str, Any]:
    """Return the deployed configuration with one other value."""
    document: dict[str, Any] = json.loads(json.dumps(DEPLOYED))
    *sections, name = key.split(".")
    inner = document
    for section in sections:
        inner = inner[section]
    inner[name] = value
    return document


def test_a_deployed_configuration_becomes_ours(tmp_path: Path) -> None:
    """Lookup and image server are the locator, the loader is a destination, hosts are allowed."""
    config = translated(tmp_path, DEPLOYED).config
    assert config == {
        "broker": {"allow_hosts": ["data:9099", "oss:5000", "loader:3001"]},
        "services": {
            "destinations": {
                "loader": {"type": "annotation", "url": "http://loader:3001/submitZipOrder"}
            },
            "kue": {
                "types": {
                    "analysisJob": {"algorithm": "ki67", "mpp": 0.25, "destination": "loader"},
                    "order": {"algorithm": "ki67", "mpp": 0.25, "destination": "loader"},
                }
            },
        },
        "worker": {
            "locator": {
                "type": "http",
                "url": f"http://data:9099{LOOKUP}?TCGAId={{case_id}}",
                "location": "/0/file-location",
                "source": {
                    "type": "image_server",
                    "url": "http://oss:5000{location}",
                    "protocol": "iiif",
                },
            }
        },
    }
    locator = check_alone(config).worker.locator
    assert isinstance(locator, HttpLocator)
    assert locator.request_url("CMU1") == f"http://data:9099{LOOKUP}?TCGAId=CMU1"
    source: Any = locator.located("CMU1", "/data/images/CMU1.svs")
    assert source.url.get_secret_value() == "http://oss:5000/data/images/CMU1.svs"


def test_numbers_are_as_good_as_text(tmp_path: Path) -> None:
    """DynamicServices reads each value as text, whatever its type."""
    expected = translated(tmp_path, DEPLOYED)
    document = changed("images.location.port", 9099)
    document["annotations"]["server"]["port"] = 3001
    assert translated(tmp_path, document) == expected


def test_the_file_of_the_key_is_ours_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its form is that of `worker.locator.query`, so the remark names the variable for it."""
    for name in [name for name in os.environ if name.startswith("SLIDELANE_")]:
        monkeypatch.delenv(name)
    translation = translated(tmp_path, DEPLOYED)
    variable = "SLIDELANE_WORKER__LOCATOR__QUERY_FILE"
    assert variable in "\n".join(translation.remarks)
    (tmp_path / "config.json").write_text(json.dumps(translation.config))
    (tmp_path / "apikey.json").write_text(json.dumps({"api_key": KEY}))
    monkeypatch.setenv("SLIDELANE_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv(variable, str(tmp_path / "apikey.json"))
    locator = load().worker.locator
    assert isinstance(locator, HttpLocator)
    assert locator.query["api_key"].get_secret_value() == KEY


def test_a_remark_names_each_thing_without_a_counterpart(tmp_path: Path) -> None:
    """No key of the old file is passed over in silence; an unknown one is named, not its value."""
    document = changed("images.api_key", KEY)
    remarks = "\n".join(translated(tmp_path, document).remarks)
    for words in (
        "orders.kue: Kue is not needed any more. Viewers order here with kueHost=HOST:PORT/kue",
        "services.kue.networks must name the addresses",
        "orders.redis: left out",
        "orders.redis.channel, annotations.redis.channel: left out",
        "images.imageServer.format: left out",
        "images.api_key_file: the key is not copied",
        "images.api_key: left out. DynamicServices has no such key",
        '{"name": "loader", "case_id": …}',
        "annotations.redis: left out",
        "worker.algorithms: the file names no algorithm",
        "give scans[].mpp",
    ):
        assert words in remarks
    assert KEY not in remarks


def test_a_loader_for_masks_is_told(tmp_path: Path) -> None:
    """Its address takes no zip; the address stays as it is in the file."""
    document = changed("annotations.server.path", "/submitMaskOrder")
    translation = translated(tmp_path, document)
    assert "Correct services.destinations.loader.url" in "\n".join(translation.remarks)
    url = translation.config["services"]["destinations"]["loader"]["url"]
    assert url == "http://loader:3001/submitMaskOrder"


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (["images"], "annotations.server: not in the file"),
        (["annotations"], "worker.locator: not written"),
        (["orders"], "worker.locator: not written"),
    ],
)
def test_a_part_of_a_configuration_is_enough(
    tmp_path: Path, sections: list[str], words: str
) -> None:
    """What is missing is said, and the rest can be loaded."""
    translation = translated(tmp_path, {name: DEPLOYED[name] for name in sections})
    assert words in "\n".join(translation.remarks)
    assert list(translation.config) == ["broker", "services", "worker"]
    check_alone(translation.config)


@pytest.mark.parametrize("form", ["{}", "@{}", "@{}@"])
def test_placeholders_stop_the_import(tmp_path: Path, form: str) -> None:
    """With the `@` that the `sed` of run.sh looks for, and without it as in the sample."""
    text = json.dumps(SAMPLE)
    for name in ("QUIP_JOBS", "QUIP_DATA", "QUIP_OSS", "QUIP_LOADER"):
        text = text.replace(name, form.format(name))
    found = problems(tmp_path, text.encode())
    for key, name in {
        "orders.redis.host": "QUIP_JOBS",
        "orders.kue.host": "QUIP_JOBS",
        "images.location.host": "QUIP_DATA",
        "images.imageServer.url": "QUIP_OSS",
        "annotations.server.host": "QUIP_LOADER",
        "annotations.redis.host": "QUIP_LOADER",
    }.items():
        assert f"{key} holds the placeholder {form.format(name)}: put the host's name" in found
        assert f"variable {name})" in found


ORDER_WITHOUT_COMMA = b"""{
  "id": "14", "type": "order",
  "data": {"order": {"image": {
    "case_id": "CMU1",
    "width": "48002"
    "height": "35558"
  }}}
}
"""
"""The mistake of sample_order.json: no comma after the width."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ORDER_WITHOUT_COMMA, "is no JSON: Expecting ',' delimiter at line 6, column 5"),
        (ORDER_WITHOUT_COMMA.replace(b'"48002"', b'"48002",'), "is an order of Kue"),
        (b'{"broker": {}, "services": {}, "worker": {}}', "is a config.json of Slidelane already"),
        (b"{}", "none of orders, images and annotations"),
        (b"[]", "holds no JSON object"),
        (b"// hosts\n{}", "is no JSON: Expecting value at line 1"),
        (b"\xff\xfe{", "is not UTF-8"),
        (b'{"orders": {}, "orders": {}}', "has the name orders twice"),
        (b'{"orders": ' + b"[" * 100_000, "is nested too deeply"),
        (b'{"orders": 1' + b"0" * 5000 + b"}", "digits"),
        (b'{"orders": "' + b"a" * 1_000_000 + b'"}', "is larger than 1,000,000 bytes"),
        (b'{"orders": {"kue": {"port": NaN}}}', "orders.kue.port must be text or a whole number"),
        (b'{"orders": []}', "orders must be an object"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """Within bounds of size and depth, with the place of what is wrong."""
    assert words in problems(tmp_path, content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("images.location.host", f"{KEY}@data"),
        ("images.location.host", ""),
        ("images.location.host", "data/../x"),
        ("images.location.port", "0"),
        ("images.location.port", "65536"),
        ("images.location.port", "١"),
        ("images.location.port", True),
        ("images.location.path", f"{LOOKUP}?api_key={KEY}"),
        ("images.location.path", "services"),
        ("images.location.path", ["/a"]),
        ("images.imageServer.url", f"http://user:{KEY}@oss:5000"),
        ("images.imageServer.url", f"oss:5000/?key={KEY}"),
        ("images.imageServer.url", "ftp://oss"),
        ("images.imageServer.url", "oss:port"),
        ("images.imageServer.url", "oss{location}"),
        ("images.imageServer.url", "http://[::1"),
        ("annotations.server.path", "/a\n"),
        ("annotations.server.path", "/" + "a" * 3000),
        ("annotations.server.host", None),
    ],
)
def test_an_impossible_value_is_named_and_not_repeated(
    tmp_path: Path, key: str, value: Any
) -> None:
    """By its key; the value may hold a key or a password."""
    found = problems(tmp_path, changed(key, value))
    assert found.startswith(f"{key} must be ")
    assert KEY not in found


def test_a_path_is_one_of_the_url_alone(tmp_path: Path) -> None:
    """Braces stand for values with us, so they are encoded; an address of IPv6 keeps its brackets."""
    document = changed("images.location.path", "/a{case_id}/b c")
    document["images"]["location"]["host"] = "[fd00::7]"
    translation = translated(tmp_path, document)
    url = translation.config["worker"]["locator"]["url"]
    assert url == "http://[fd00::7]:9099/a%7Bcase_id%7D/b%20c?TCGAId={case_id}"
    check_alone(translation.config)


def test_settings_are_checked_without_those_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that cannot work does not matter, and what is wrong is told as at a start."""
    monkeypatch.setenv("SLIDELANE_SERVICES__PORT", "none")
    assert check_alone({"broker": {}}).services.port == 8000
    with pytest.raises(ConfigError, match=r"services\.port: "):
        check_alone({"services": {"port": "none"}})


def test_the_command_prints_settings_on_stdout_only(tmp_path: Path) -> None:
    """Remarks are on stderr, so that stdout can be kept as config.json; status 1 prints none."""
    path = tmp_path / "old.json"
    path.write_text(json.dumps(DEPLOYED))
    done = slidelane("import-config", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["broker", "services", "worker"]
    assert "orders.redis: left out" in done.stderr
    path.write_text(json.dumps(SAMPLE))
    stopped = slidelane("import-config", path, cwd=tmp_path)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "Traceback" not in stopped.stderr
    assert "slidelane import-config: orders.kue.host holds the placeholder" in stopped.stderr
    absent = slidelane("import-config", tmp_path / "none.json", cwd=tmp_path)
    assert absent.returncode == 1
    assert "cannot be read (No such file or directory)" in absent.stderr


def test_the_order_of_the_page_is_one() -> None:
    """docs/from-dynamicservices.md shows an order that names the destination that is made."""
    (example,) = blocks(read_page("docs/from-dynamicservices.md"), "json")
    order = OrderRequest.model_validate_json(example)
    assert isinstance(order.destination, NamedDestination)
    assert order.destination.name == LOADER
    assert order.destination.fields == {"case_id": "CMU1"}
