"""Each setting arrives by its environment variable, and by the file that NAME_FILE names."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from broker.settings.config import PREFIX, Config, ConfigError, load
from tests.test_docs_settings import EXPECTED

NAMED = {key: row[0].strip("`") for key, row in EXPECTED.items() if "[]" not in key}
"""What stands in a list has no variable of its own: it comes with the list."""

SHA256 = "0123456789abcdef" * 4
KEYS = [{"name": "lab", "sha256": SHA256, "scopes": ["read"]}]
CASES = {"S1": {"type": "url", "url": "https://slides.example/a.svs"}}
MAP: dict[str, Any] = {"type": "map", "cases": CASES}
HTTP: dict[str, Any] = {
    "type": "http",
    "url": "https://locator.example/{case_id}",
    "location": "/0/location",
    "source": {
        "type": "image_server",
        "url": "https://images.example/{location}",
        "protocol": "iiif",
    },
}
WEBHOOKS = [
    {
        "secret": "the-secret-address",
        "host": "ci.techcyte.com",
        "algorithms": {"*": {"algorithm": "ki67", "parameters": {"positive_threshold": 0.2}}},
        "api_key_id": "lab",
        "api_key_secret": "secret",
    }
]
INBOX = {
    "inbox": {"type": "webhook", "url": "https://in.example/", "secret": "whsec_" + "c2Vj" * 8}
}
POLICY = {"name": "ki67", "algorithm": "grid", "match": {"stain": ["Ki67"]}}
WORDS: dict[str, Any] = {
    "broker.redis_url": "rediss://:secret@redis.example:6380/2",
    "broker.data": "/elsewhere",
    "broker.allow_hosts": ["10.1.0.0/16", "pacs.example"],
    "broker.log": "json",
    "broker.storage": "s3://bucket/prefix",
    "broker.secret_key": "a-fernet-key",
    "broker.old_secret_keys": ["an-older-fernet-key"],
    "broker.uploads": "/uploads",
    "broker.viewer.url": "http://viewer:8060",
    "broker.viewer.secret": "a-secret-of-the-viewer",
    "services.host": "::1",
    "services.keys": KEYS,
    "services.keys_file": "/run/keys",
    "services.techcyte.webhooks": WEBHOOKS,
    "services.notify": "inbox",
    "services.destinations": {"lab": {"type": "techcyte", "host": "ci.techcyte.com"}},
    "services.kue.types": {"analysisJob": {"algorithm": "grid"}},
    "services.kue.types.NAME.algorithm": "grid",
    "services.kue.types.NAME.parameters": {"rows": 3},
    "services.kue.types.NAME.destination": {"type": "none"},
    "services.kue.types.NAME.mpp": 0.5,
    "services.policies": [POLICY],
    "services.templates": {"hot-spot": {"algorithm": "grid"}},
    "services.templates.NAME.algorithm": "grid",
    "services.templates.NAME.parameters": {"rows": 3},
    "services.templates.NAME.destination": {"type": "none"},
    "services.templates.NAME.title": "A hot spot",
    "services.templates.NAME.priority": "high",
    "services.templates.NAME.labels": {"study": "S-7"},
    "services.templates.NAME.roi.required": True,
    "services.templates.NAME.roi.max_area_mm2": 2.5,
    "services.templates.NAME.roi.max_width_px": 4096,
    "services.templates.NAME.roi.max_height_px": 4096,
    "services.templates.NAME.roi.max_count": 3,
    "services.templates.NAME.allow": ["priority"],
    "services.page.labels": True,
    "services.page.frame_ancestors": ["https://pacs.example"],
    "services.page.flower": "https://flower.example",
    "services.kue.publish_events": True,
    "services.kue.events_url": "rediss://:secret@jobs.example:6380/2",
    "services.kue.networks": ["10.1.0.0/16"],
    "services.kue.max_priority": "urgent",
    "worker.device": "cuda:3",
    "worker.queues": ["gpu-24g", "cpu"],
    "worker.threads": 3,
    "worker.slides.roots": ["/slides", "/more"],
    "worker.viewer.bind": "0.0.0.0:8060",
    "worker.watch": [{"path": "/slides/in", "policy": "ki67"}],
    "worker.locator": MAP,
    "worker.locator.type": "http",
    "worker.locator.cases": CASES,
    "worker.locator.url": HTTP["url"],
    "worker.locator.headers": {"authorization": "Bearer secret"},
    "worker.locator.query": {"api_key": "secret"},
    "worker.locator.location": "/1/place",
    "worker.locator.mpp": "/0/mpp",
    "worker.locator.source": HTTP["source"],
    "worker.classes": {"g4dn": {"queue": "g4dn", "cpus": 4, "memory": "16GB", "gpus": 1}},
    "worker.classes.NAME.queue": "g4dn",
    "worker.classes.NAME.cpus": 3.5,
    "worker.classes.NAME.memory": 16 * 10**9,
    "worker.algorithms": {"other": {"kind": "grid"}},
    "worker.algorithms.NAME.kind": "grid",
    "worker.algorithms.NAME.folder": "/models/mine",
    "worker.algorithms.NAME.sha256": "ab" * 32,
    "worker.algorithms.NAME.entry": "/models/mine.py:Model",
    "worker.algorithms.NAME.command": ["python3", "/models/main.py"],
    "worker.algorithms.NAME.image": "registry.lab/mitosis:3",
    "worker.algorithms.NAME.engine": "podman",
    "worker.algorithms.NAME.allow_hosts": ["models.example"],
    "worker.algorithms.NAME.env": {"API_KEY": "secret", "DOWNSAMPLE": "10"},
    "worker.algorithms.NAME.class": "g4dn",
    "worker.algorithms.NAME.memory_bytes": 2**30,
    "worker.algorithms.NAME.encoders": {"uni": "/models/uni"},
    "worker.algorithms.NAME.title": "Nuclei",
    "worker.algorithms.NAME.description": "Counts nuclei.",
    "worker.algorithms.NAME.titles": {"positive": "Positive"},
    "worker.algorithms.NAME.colors": {"positive": "#c8321e"},
    "worker.algorithms.NAME.annotation_types": {"positive": "nucleus"},
    "worker.algorithms.NAME.stains": ["H&E"],
    "worker.algorithms.NAME.compile": True,
    "worker.algorithms.NAME.queue": "gpu-24g",
    "worker.algorithms.NAME.time_limit_s": 123.5,
    "worker.algorithms.NAME.parameters": {"rows": 3},
    "worker.http.ca_file": "/etc/ssl/house.pem",
    "worker.http.proxy": "http://user:secret@proxy.example:3128",
    "worker.deliver.techcyte.features": "points",
    "worker.deliver.techcyte.features_in": "segments",
    "worker.deliver.techcyte.qc_fail_reasons": "warnings",
    "worker.deliver.on_unknown": "repeat",
}
"""A value for each key whose default is no number to count on from."""


def sample(key: str) -> Any:
    """A value that is not the default."""
    default = json.loads(EXPECTED[key][1].strip("`")) if key not in WORDS else None
    if isinstance(default, int | float) and not isinstance(default, bool):
        return default + 1
    return WORDS[key]


def beside(key: str) -> dict[str, str]:
    """What else must be given for a key to be allowed: a locator whole, an algorithm with its
    kind, the webhook that is named."""
    if key == "services.notify":
        return {NAMED["services.destinations"]: written(INBOX)}
    if key.startswith("worker.locator."):
        whole = MAP if key.endswith(".cases") else HTTP
        return {NAMED[f"worker.locator.{name}"]: written(value) for name, value in whole.items()}
    if key in ("broker.viewer.url", "worker.viewer.bind"):
        return {NAMED["broker.viewer.secret"]: WORDS["broker.viewer.secret"]}
    if key == "worker.watch":
        return {
            NAMED["services.policies"]: written([POLICY]),
            NAMED["worker.slides.roots"]: written(["/slides"]),
        }
    for named in ("services.kue.types.NAME.", "services.templates.NAME."):
        if key.startswith(named):
            return {NAMED[f"{named}algorithm"]: "grid"}
    return (
        {NAMED["worker.algorithms.NAME.kind"]: "grid"}
        if key.startswith("worker.algorithms.NAME")
        else {}
    )


def written(value: Any) -> str:
    """As one writes it into the environment: words as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def arrived(config: Config, key: str) -> Any:
    """What stands at the key, secrets in clear."""
    found: Any = config
    # `class` is a word of Python
    for name in re.sub(r"\.class$", ".class_name", key).split("."):
        found = found["name"] if name == "NAME" else getattr(found, name)
    return clear(found)


def assert_arrived(key: str) -> None:
    found = arrived(load(), key)
    if key == "worker.algorithms":  # what is given comes to those that are there without it
        assert set(found) == {"ki67", "grid", "other"}
        found = {"other": {"kind": found["other"]["kind"]}}
    if key == "worker.classes":  # bytes, however they were written
        assert found["g4dn"]["memory"] == 16 * 10**9
        found["g4dn"]["memory"] = "16GB"
    assert found == sample(key)


def clear(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: clear(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, dict):
        return {name: clear(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [clear(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


@pytest.fixture(autouse=True)
def _only_what_the_test_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("key", NAMED)
def test_a_setting_arrives_by_its_variable(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name that docs/settings.md states for it, with a value that is not its default."""
    without = load()
    for name, value in (beside(key) | {NAMED[key]: written(sample(key))}).items():
        monkeypatch.setenv(name, value)
    assert_arrived(key)
    if ".NAME." not in key and not key.startswith("worker.locator."):
        assert arrived(without, key) != sample(key)


@pytest.mark.parametrize("key", [key for key in NAMED if key != "services.keys"])
def test_a_setting_arrives_by_a_file(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NAME_FILE, as secrets are mounted, works for every setting; a newline at the end is cut
    off."""
    for name, value in beside(key).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(NAMED[key], raising=False)
    (tmp_path / "mounted").write_text(written(sample(key)) + "\n")
    monkeypatch.setenv(f"{NAMED[key]}_FILE", str(tmp_path / "mounted"))
    assert_arrived(key)


def test_the_file_of_the_keys_is_a_setting_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name ends in `_file`; the API reads it again when it changes, so not only its content is
    kept."""
    monkeypatch.setenv("SLIDELANE_SERVICES__KEYS_FILE", "/run/keys")
    services = load().services
    assert (services.keys_file, services.keys) == (Path("/run/keys"), ())


@pytest.mark.parametrize(
    "key", [key for key in NAMED if "secret" in written(WORDS.get(key, "")) or "secret_" in key]
)
def test_a_secret_that_arrived_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are printed where they are wrong, and while a fault is looked for."""
    for name, value in (beside(key) | {NAMED[key]: written(sample(key))}).items():
        monkeypatch.setenv(name, value)
    shown = repr(load()) + str(load())
    # "secret" is part of the names of two settings, which are shown
    assert "secret" not in shown.replace("secret_key", "").replace("secret=", "")
    assert "fernet" not in shown


def test_a_file_that_is_not_there_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that was not mounted is named by its path, and never replaced by a default."""
    monkeypatch.setenv("SLIDELANE_BROKER__SECRET_KEY_FILE", "/nowhere/key")
    with pytest.raises(ConfigError, match="/nowhere/key"):
        load()
