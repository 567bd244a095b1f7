"""The task that Techcyte's "External" provider posts, and the order that is made of it.

Techcyte's documents and its examples name some fields differently: both names are read. Fields that
are not known here are passed over, for Techcyte adds some now and then.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from broker.errors import OrderError
from broker.orders.stains import stain_name
from broker.settings.services.techcyte import ANY_MODEL, ModelOrder, TechcyteWebhook
from services.requests.placement import fingerprint

MODEL_FIELDS: Final = ("model_id", "model_name")
TOKEN_FIELDS: Final = ("jwt_token", "token")
STAIN_FIELDS: Final = ("value", "label", "stain_code")
LONGEST_STAIN: Final = 64
LONGEST_SHOWN: Final = 64
EXAMPLE: Final[Mapping[str, Any]] = {
    "company_id": "Y29tcGFueToyMQ==",
    "task_id": "dGFzazoxODU3MTQ=",
    "case_id": "aHVtYW5DYXNlOjU1",
    "model_id": "ki67",
    "jwt_token": "the token of the task",
    "scans": {"8946136": "https://bucket.example.org/b33359b.8061860?X-Amz-Expires=3600"},
    "scan_urls": {"8946136": ["https://bucket.example.org/b33359b.8061860?X-Amz-Expires=3600"]},
    "stains": {"8946136": {"value": "Ki67", "label": "Ki-67"}},
}
_TEXT: Final = {"type": ["string", "integer"]}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["task_id"],
                    "properties": {
                        "task_id": _TEXT,
                        "case_id": _TEXT,
                        "model_id": _TEXT,
                        "model_name": _TEXT,
                        "jwt_token": {"type": "string"},
                        "token": {"type": "string"},
                        "scans": {"type": "object", "description": "scan -> URL"},
                        "scan_urls": {
                            "type": "object",
                            "description": "scan -> URLs; several are the files of a DICOM "
                            "series. Goes before `scans`",
                        },
                        "stains": {"type": "object", "description": "scan -> stain"},
                    },
                },
                "example": dict(EXAMPLE),
            }
        },
    }
}


@dataclass(frozen=True, slots=True)
class TaskScan:
    """A scan of a task: one URL, or those of the files of a DICOM series."""

    id: str
    urls: tuple[str, ...] = field(repr=False)
    stain: str


@dataclass(frozen=True, slots=True)
class TechcyteTask:
    """A task as it was posted; absent texts are empty."""

    id: str
    case_id: str
    models: tuple[str, ...]
    token: str = field(repr=False)
    scans: tuple[TaskScan, ...]

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the task of a JSON document. Raise `OrderError("request_invalid")`."""
        if not isinstance(document, dict):
            raise _fault("", "the body is no JSON object")
        task_id = _text(document, "task_id")
        if not task_id:
            raise _fault("task_id", "there is none")
        given = (_text(document, name) for name in MODEL_FIELDS)
        tokens = [_text(document, name) for name in TOKEN_FIELDS]
        return cls(
            id=task_id,
            case_id=_text(document, "case_id"),
            models=tuple(dict.fromkeys(model for model in given if model)),
            token=next(filter(None, tokens), ""),
            scans=_scans(document),
        )

    def key(self, webhook: TechcyteWebhook) -> str:
        """Return the idempotency key of the task: one task at one host is one order.

        The secret is no part of it, so that a task stays the same while a secret is replaced.
        """
        return fingerprint(["techcyte", webhook.name, _api_of(webhook), _plain_id(self.id)])

    def content(self) -> dict[str, Any]:
        """Return what must be the same where a task is repeated.

        That is the model and the files. Tokens and the queries of URLs are made anew each time; a
        stain or a case may have been corrected meanwhile.
        """
        files = {scan.id: [_without_query(url) for url in scan.urls] for scan in self.scans}
        return {"models": sorted(self.models), "files": files}

    def order_document(self, webhook: TechcyteWebhook) -> dict[str, Any]:
        """Return the order of the task, as it would be sent to `POST /v1/orders`.

        Raise `OrderError`: `algorithm_unknown` for a model that the settings do not name,
        `request_invalid` for a task without a token where the settings have no API key.
        """
        chosen = self._chosen(webhook)
        labels = {"task": self.id}
        if self.case_id:
            labels["case"] = self.case_id
        return {
            "algorithm": chosen.algorithm,
            "parameters": dict(chosen.parameters),
            "scans": [_scan_document(scan) for scan in self.scans],
            "destination": self._destination(webhook),
            "labels": labels,
        }

    def _chosen(self, webhook: TechcyteWebhook) -> ModelOrder:
        for model in (*self.models, ANY_MODEL):
            if model in webhook.algorithms:
                return webhook.algorithms[model]
        why = "the task names no model, and no algorithm is set for any"
        if self.models:
            named = " or ".join(repr(model[:LONGEST_SHOWN]) for model in self.models)
            why = f"no algorithm is set for the model {named}"
        raise OrderError(
            "algorithm_unknown",
            f"model_id: {why}",
            hint="name the model in services.techcyte.webhooks[].algorithms, or '*' for any",
            field="model_id",
        )

    def _destination(self, webhook: TechcyteWebhook) -> dict[str, Any]:
        destination: dict[str, Any] = {"type": "techcyte", "task_id": self.id}
        if webhook.base_url is not None:
            destination["base_url"] = webhook.base_url.get_secret_value()
        else:
            destination["host"] = webhook.host
        if webhook.case_results:
            destination["case_results"] = True
        if self.token:
            return destination | {"jwt_token": self.token}
        if webhook.api_key_secret is None:
            raise OrderError(
                "request_invalid",
                "jwt_token: the task has no token, and the settings have no API key",
                hint="give services.techcyte.webhooks[] an api_key_id and an api_key_secret",
                field="jwt_token",
            )
        secret = webhook.api_key_secret.get_secret_value()
        return destination | {"api_key_id": webhook.api_key_id, "api_key_secret": secret}


def _scan_document(scan: TaskScan) -> dict[str, Any]:
    source: dict[str, Any] = {"type": "url", "urls": list(scan.urls)}
    if len(scan.urls) == 1:
        source = {"type": "url", "url": scan.urls[0]}
    document: dict[str, Any] = {"id": scan.id, "source": source}
    if scan.stain:
        document["stain"] = scan.stain
    return document


def _scans(document: Mapping[str, Any]) -> tuple[TaskScan, ...]:
    """Return every scan of the task. Raise `OrderError` where there is none, or one without URL."""
    series = _mapping(document, "scan_urls")
    single = _mapping(document, "scans")
    stains = _mapping(document, "stains")
    scans = []
    for scan_id in dict.fromkeys([*series, *single]):
        urls = _urls(series.get(scan_id), "scan_urls")
        if not urls:
            urls = _urls(single.get(scan_id), "scans")
        if not urls:
            raise _fault("scans", f"the scan {scan_id[:LONGEST_SHOWN]!r} has no URL")
        scans.append(TaskScan(scan_id, urls, _stain(stains.get(scan_id))))
    if not scans:
        raise _fault("scans", "the task has no scan")
    return tuple(scans)


def _urls(value: Any, name: str) -> tuple[str, ...]:
    """Return the URLs of one scan, none where the value is null or empty. Raise `OrderError`."""
    if value is None:
        return ()
    urls = value
    if isinstance(value, str):
        urls = [value]
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise _fault(name, "a scan has a URL, or a list of URLs")
    return tuple(url for url in urls if url)


def _stain(value: Any) -> str:
    """Return the stain of a scan: of its names one that is known here, else the first.

    A stain in a form that is not known is passed over: it decides nothing about the task.
    """
    names = [value]
    if isinstance(value, dict):
        names = [value.get(name) for name in STAIN_FIELDS]
    texts = [name.strip() for name in names if isinstance(name, str) and name.strip()]
    known = [text for text in texts if stain_name(text)]
    return next(iter([*known, *texts]), "")[:LONGEST_STAIN]


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _fault(name, "an object is expected, with the id of each scan")
    return value


def _text(document: Mapping[str, Any], name: str) -> str:
    """Return a text, or a whole number as a text; empty where there is none. Raise `OrderError`."""
    value = document.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _fault(name, "a text or a whole number is expected")
    return str(value).strip()


def _api_of(webhook: TechcyteWebhook) -> str:
    """Return the address of the API, the same whether it is set as a host or as a URL."""
    if webhook.host is not None:
        return f"https://api.{webhook.host}".lower()
    url = webhook.address.lower().rstrip("/")
    return url.removesuffix("/api/v3").rstrip("/")


def _plain_id(task_id: str) -> str:
    """Return the number of a task whose id is the base64 of `task:NUMBER`, else the id itself.

    Techcyte takes both, so both are the same task.
    """
    try:
        text = base64.b64decode(task_id, validate=True).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        return task_id
    found = re.fullmatch(r"task:([0-9]+)", text)
    if found is None:
        return task_id
    return found[1]


def _without_query(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0]


def _fault(name: str, why: str) -> OrderError:
    where = why
    if name:
        where = f"{name}: {why}"
    return OrderError(
        "request_invalid",
        where,
        hint="send what Techcyte's External provider posts; docs/connect-techcyte.md shows it",
        field=name,
    )
