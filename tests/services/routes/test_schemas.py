"""The published schema of model.json."""

from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from tests.support.paths import ROOT


def test_the_schema_is_answered_as_it_is_published(api: TestClient, keyed: TestClient) -> None:
    """An editor may load it from here; with keys configured it asks for one, as all of /v1."""
    answer = api.get("/v1/schemas/model.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.content == (ROOT / "slidelane" / "model.schema.json").read_bytes()
    schema = Draft202012Validator(answer.json())
    model = {"slidelane": 1, "mpp": 0.5, "input_px": 224, "classes": ["a", "b"]}
    assert schema.is_valid(model)
    assert not schema.is_valid(model | {"halo": 3})
    assert keyed.get("/v1/schemas/model.json").status_code == 401
    assert api.get("/v1/schemas/other.json").status_code == 404
