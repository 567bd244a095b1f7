"""Completes the OpenAPI document: the order's schema and examples, problems and API keys."""

from typing import Any

from fastapi import FastAPI

from broker.orders.request import DeliverAgainRequest, OrderRequest
from services import examples, secret_paths
from services.kue.examples import ADDRESSES as KUE_ADDRESSES
from services.kue.page import PATH as KUE
from services.openapi_answers import ANSWERS, PROBLEM_SCHEMA, Answers
from services.responses.problems import MEDIA_TYPE, ProblemAnswer
from services.session.cookie import SECURE_NAME
from services.slides.requested_slide import SlideRequest

REF = "#/components/schemas/{model}"
TITLE = "Slidelane"
DESCRIPTION = """Runs AI models on pathology slides: an order comes in and waits, a worker reads
the slide or just the region, and the result arrives at its destination exactly once. Regions are in
level-0 pixels, x right, y down; what lies beyond the slide is left out.

Research use only."""
OPEN = (
    "/healthz",
    "/readyz",
    secret_paths.TECHCYTE_WEBHOOK + "{secret}",
    *(f"{KUE}{path}" for path in KUE_ADDRESSES),
)
"""The addresses that need no key: one holds a secret, and of Kue's the caller's address decides."""
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SECURE_NAME,
        "description": "what POST /v1/session gives a browser; on loopback its name is slidelane",
    },
}
LOGIN = "log_in"
SESSION = "get_session"
"""Also tells a caller without a key that it needs one."""
PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}},
}
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": PROBLEM, "5XX": PROBLEM}

SHORT_ORDERS: dict[str, Any] = {
    "order-by-a-template": {
        "summary": "By a template of services.templates: its scans only",
        "value": examples.BY_TEMPLATE,
    },
    "order-by-a-policy": {
        "summary": "Without an algorithm: services.policies decide by stain, labels and path",
        "value": examples.BY_POLICY,
    },
}
_SHORT_ORDER: dict[str, Any] = {
    "title": "ShortOrder",
    "description": "What a template or a policy completes: all other fields are as in an order",
    "type": "object",
    "required": ["scans"],
    "not": {"required": ["algorithm"]},
    "properties": {
        "template": {"type": "string", "description": "a name of GET /v1/templates"},
        "scans": {"type": "array", "minItems": 1, "maxItems": 64, "items": {"type": "object"}},
    },
}
ORDER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": REF.format(model="OrderRequest")},
                        _SHORT_ORDER,
                        {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1000,
                            "items": {"$ref": REF.format(model="OrderRequest")},
                        },
                    ]
                },
                "examples": {**examples.ORDERS, **SHORT_ORDERS},
            }
        },
    }
}

SESSION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"key": {"type": "string"}},
                    "required": ["key"],
                    "additionalProperties": False,
                },
                "example": {"key": "an API key"},
            }
        },
    }
}

DELIVER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="DeliverAgainRequest")},
                "example": {"destination": examples.WHOLE_SLIDE["destination"]},
            }
        },
    }
}


class SlidelaneApi(FastAPI):
    """A FastAPI application whose OpenAPI document is completed."""

    needs_key: bool = True

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is made once."""
        is_complete = self.openapi_schema is not None
        document = super().openapi()
        if not is_complete:
            _complete(document, needs_key=self.needs_key)
        return document


def _complete(document: dict[str, Any], *, needs_key: bool) -> None:
    """Add the schemas that FastAPI does not see, and which operations need a key."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (OrderRequest, DeliverAgainRequest, SlideRequest, ProblemAnswer):
        schema = model.model_json_schema(ref_template=REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    components["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = _security(path, needs_key=needs_key)
            if operation["operationId"] == LOGIN:
                operation["security"] = []
            if operation["operationId"] == SESSION:
                operation["security"] = _security(path, needs_key=False)
            if operation["operationId"] in ANSWERS:
                _add_answers(operation, ANSWERS[operation["operationId"]])


def _add_answers(operation: dict[str, Any], answers: Answers) -> None:
    """Add the example of the success to its schema, and every error beside "4XX" and "5XX"."""
    documented = operation["responses"]
    for status, response in answers.responses().items():
        known = documented.setdefault(status, {"description": "The answer"})
        known["description"] = response.get("description", known["description"])
        if "headers" in response:
            known["headers"] = response["headers"]
        for media_type, shown in response.get("content", {}).items():
            content = known.setdefault("content", {})
            content[media_type] = {**content.get(media_type, {}), **shown}


def _security(path: str, *, needs_key: bool) -> list[dict[str, list[str]]]:
    if path in OPEN:
        return []
    either: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]
    if needs_key:
        return either
    # An empty one says that it works without as well.
    return [{}, *either]
