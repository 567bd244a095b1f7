"""Named destinations in the settings: what cannot work stops the start; secrets stay hidden."""

import os
from pathlib import Path
from typing import Any, get_args

import pytest

from broker.orders.destinations import AddressedDestination
from broker.orders.request import Destination, NoDestination
from broker.settings.config import ConfigError, load

SECRET = "5ecre7"
LAB: dict[str, Any] = {"type": "techcyte", "host": "ci.techcyte.com", "jwt_token": SECRET}
LOADER: dict[str, Any] = {"type": "annotation", "url": "https://loader.example/up"}


@pytest.fixture(autouse=True)
def no_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLIDELANE_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "config.json"
    path.write_text("{}")
    monkeypatch.setenv("SLIDELANE_CONFIG", str(path))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("Lab", LAB, r"services\.destinations\.Lab.*pattern"),
        ("lab", {"host": "a.example"}, r"destinations\.lab: .*type must be one of annotation, "),
        ("lab", {"type": "none"}, r"type must be one of annotation, "),
        ("lab", {"type": "techcyte", "jwt_token": SECRET}, r"give its address: host or base_url"),
        ("lab", LAB | {"base_url": "https://a.example"}, r"give its address: host or base_url"),
        ("lab", LAB | {"url": "https://a.example"}, r"url: a destination of this type has no such"),
        ("lab", LAB | {"name": "lab"}, r"name: its key is its name"),
        ("lab", LAB | {"jwt_token": ""}, r"jwt_token: .*at least 1"),
        ("lab", LAB | {"task_id": ["1"]}, r"destinations\.lab\.task_id: "),
        ("loader", LOADER | {"url": f"ftp://{SECRET}@a/"}, r"url: this is not an http or https"),
        ("loader", LOADER | {"url": f"http://a:{SECRET}/"}, r"url: this is not an http or https"),
        ("loader", LOADER | {"url": "https://10.0.0.1/"}, r"destinations\.loader\.url: .*private"),
        ("loader", LOADER | {"url": "http://a.example/"}, r"destinations\.loader\.url: .*plain"),
        ("loader", LOADER | {"url": f"https://u:{SECRET}@a.example/"}, r"holds a login"),
        ("inbox", {"type": "webhook", "url": "https://a.example", "secret": SECRET}, r"secret: "),
    ],
)
def test_a_wrong_destination_stops_the_start(
    name: str, given: dict[str, Any], message: str
) -> None:
    """The message names key and field, and repeats no secret."""
    with pytest.raises(ConfigError, match=message) as raised:
        load(services={"destinations": {name: given}})
    assert SECRET not in str(raised.value)


def test_a_destination_may_lack_what_orders_add() -> None:
    """Case, task and token come with the order; a host of the house needs broker.allow_hosts."""
    inside = LOADER | {"url": "http://loader:3001/submitZipOrder"}
    loaded = load(
        broker={"allow_hosts": ["loader:3001"]},
        services={"destinations": {"loader": inside, "lab": LAB}},
    )
    assert set(loaded.services.destinations) == {"loader", "lab"}
    assert SECRET not in repr(loaded)
    assert SECRET not in loaded.model_dump_json()


def test_the_secret_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is in config.json: both are one destination."""
    (tmp_path / "config.json").write_text(
        '{"services": {"destinations": {"lab": {"type": "techcyte", "host": "ci.techcyte.com", '
        '"api_key_id": "slidelane"}}}}'
    )
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv(
        "SLIDELANE_SERVICES__DESTINATIONS__LAB__API_KEY_SECRET_FILE", str(tmp_path / "secret")
    )
    lab = load().services.destinations["lab"]
    assert lab["api_key_secret"].get_secret_value() == SECRET
    assert lab["host"].get_secret_value() == "ci.techcyte.com"


def test_every_kind_with_an_address_can_be_named() -> None:
    """Its model has the field `name`, which orders show."""
    kinds = set(get_args(get_args(Destination)[0])) - {NoDestination}
    assert all(issubclass(kind, AddressedDestination) for kind in kinds)
