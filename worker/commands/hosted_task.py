"""The task of one scan as Techcyte's model hosting states it: in variables of the environment."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from pydantic import BaseModel, ValidationError

from broker.errors import OrderError
from broker.orders.request import ScanRequest, TechcyteDestination
from worker.delivery.destinations.techcyte.evaluations import as_integer

_SECRETS: Final = (
    "SCAN_URL",
    "SCAN_URL_ZIP",
    "JWT_TOKEN",
    "API_KEY_ID",
    "API_KEY_SECRET",
    "DEBUG_FILE_UPLOAD_URL",
)
_NEEDED: Final = ("HOST", "TASK_ID", "SCAN_ID")
_PARAMETER: Final = "PARAMETER_"
_RECTANGLE: Final = re.compile(r"\s*-?\d{1,10}(\s*,\s*-?\d{1,10}){3}\s*")
DEV_SCAN_ID: Final = "test_scan"
_HINT: Final = "docs/our-image-at-techcyte.md lists the variables"


@dataclass(frozen=True, slots=True)
class HostedTask:
    """One scan of a task: what is asked of it, and where its results go, None with DEV=1."""

    algorithm: str
    parameters: dict[str, Any]
    scan: ScanRequest
    destination: TechcyteDestination | None = field(repr=False)

    @classmethod
    def of(cls, variables: Mapping[str, str], dev_image: str) -> Self:
        """Return the task that the variables state; empty ones count as absent.

        With `DEV=1` the scan is the file `dev_image`, and nothing is sent. Raise
        `OrderError("request_invalid")`, which names the variable.
        """
        given = {name: value.strip() for name, value in variables.items() if value.strip()}
        is_dev = given.get("DEV") == "1"
        destination = None
        source = {"type": "path", "path": dev_image}
        scan_id = given.get("SCAN_ID", DEV_SCAN_ID)
        if not is_dev:
            _check_complete(given)
            destination = _destination(given)
            source = _source(given)
        fields: dict[str, Any] = {"id": scan_id, "source": source}
        fields["roi"] = _roi(given)
        fields["mpp"] = _json_of(given, "MPP")
        fields["stain"] = given.get("STAIN")
        scan = _parsed(ScanRequest, fields)
        return cls(given.get("ALGORITHM", ""), _parameters(given), scan, destination)

    def order_id(self, digest: str) -> str:
        """Return what the results are recognised by: the same for the same work.

        `digest` is that of the algorithm. A task that is started a second time finds by it that
        its results are there already.
        """
        task = ""
        if self.destination is not None:
            task = self.destination.task_id
            number = as_integer(task)
            if number is not None:
                task = str(number)
        roi = self.scan.model_dump_json(include={"roi", "mpp"})
        text = json.dumps([task, self.scan.id, roi, digest, self.parameters], sort_keys=True)
        return f"hosted-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def forget_secrets(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove what is secret from the environment, which code of the site inherits."""
    for name in _SECRETS:
        environment.pop(name, None)


def _check_complete(given: Mapping[str, str]) -> None:
    missing = [name for name in _NEEDED if name not in given]
    if "SCAN_URL" not in given and "SCAN_URL_ZIP" not in given:
        missing.append("SCAN_URL")
    if "JWT_TOKEN" not in given and not {"API_KEY_ID", "API_KEY_SECRET"} <= set(given):
        missing.append("JWT_TOKEN (or API_KEY_ID and API_KEY_SECRET)")
    if missing:
        raise OrderError(
            "request_invalid",
            f"variables are missing: {', '.join(missing)}",
            hint=_HINT,
            field=missing[0].partition(" ")[0],
        )


def _source(given: Mapping[str, str]) -> dict[str, Any]:
    """Return where the slide is. A DICOM slide is whole only as the zip of its files."""
    if "SCAN_URL_ZIP" in given:
        return {"type": "url", "zip_url": given["SCAN_URL_ZIP"]}
    return {"type": "url", "url": given["SCAN_URL"]}


def _destination(given: Mapping[str, str]) -> TechcyteDestination:
    """Return the task at Techcyte. `HOST` with a scheme is the whole address of the API."""
    fields: dict[str, Any] = {"type": "techcyte", "task_id": given["TASK_ID"]}
    host = given["HOST"].rstrip("/")
    if "://" in host:
        fields["base_url"] = host
    else:
        fields["host"] = host
    names = {
        "JWT_TOKEN": "jwt_token",
        "API_KEY_ID": "api_key_id",
        "API_KEY_SECRET": "api_key_secret",
        "DEBUG_FILE_UPLOAD_URL": "debug_file_upload_url",
    }
    for variable, name in names.items():
        if variable in given:
            fields[name] = given[variable]
    fields["triage"] = _json_of(given, "TRIAGE")
    fields["case_results"] = _json_of(given, "CASE_RESULTS")
    destination: TechcyteDestination = _parsed(TechcyteDestination, fields)
    return destination


def _roi(given: Mapping[str, str]) -> Any:
    """Return the region: `X,Y,WIDTH,HEIGHT`, a word, or any other form of an order as JSON."""
    roi = _json_of(given, "ROI")
    if not isinstance(roi, str) or not _RECTANGLE.fullmatch(roi):
        return roi
    values = [int(part) for part in roi.split(",")]
    return dict(zip(("x", "y", "width", "height"), values, strict=True))


def _parameters(given: Mapping[str, str]) -> dict[str, Any]:
    """Return `PARAMETERS`, a JSON object, and each `PARAMETER_NAME` beside or instead of it."""
    parameters = _json_of(given, "PARAMETERS")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise _fault("PARAMETERS", "a JSON object is needed")
    for variable, value in given.items():
        if variable.startswith(_PARAMETER):
            name = variable.removeprefix(_PARAMETER).lower()
            parameters[name] = _json_or_text(value)
    return parameters


def _json_of(given: Mapping[str, str], name: str) -> Any:
    """Return the JSON of a variable, or its text where it is none; None where it is not given."""
    if name not in given:
        return None
    return _json_or_text(given[name])


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _parsed(model: type[BaseModel], fields: dict[str, Any]) -> Any:
    """Return a part of an order. Raise `OrderError`, which repeats no value."""
    try:
        # from text: only then a list is taken for a tuple, as of an order over HTTP
        return model.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"])) or "variables"
    message = first["msg"].removeprefix("Value error, ")
    if "url" in place.lower():
        # the message of the URL parser may quote a part of the URL
        message = "this is not an http or https URL with a host"
    raise _fault(place, message)


def _fault(name: str, why: str) -> OrderError:
    return OrderError("request_invalid", f"{name}: {why}", hint=_HINT, field=name)
