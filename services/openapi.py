"""Completes the OpenAPI document: the order's schema and examples, problems and API keys."""

from typing import Any

from fastapi import FastAPI

from broker.orders.request import DeliverAgainRequest, OrderRequest
from services.responses.problems import MEDIA_TYPE, ProblemAnswer

REF = "#/components/schemas/{model}"
TITLE = "Slidelane"
DESCRIPTION = """Runs AI models on pathology slides: an order comes in and waits, a worker reads
the slide or just the region, and the result arrives at its destination exactly once. Regions are in
level-0 pixels, x right, y down; what lies beyond the slide is left out.

Research use only."""
OPEN = ("/healthz", "/readyz")
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="ProblemAnswer")}}},
}
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": PROBLEM, "5XX": PROBLEM}

WHOLE_SLIDE = {
    "algorithm": "ki67",
    "scans": [
        {
            "id": "8946136",
            "source": {
                "type": "url",
                "url": "https://bucket.example.org/slide.svs?X-Amz-Expires=3600",
            },
        }
    ],
    "destination": {
        "type": "techcyte",
        "host": "ci.techcyte.com",
        "task_id": "dGFzazoxODU3MTQ=",
        "jwt_token": "the token that came with the task",
    },
    "priority": "high",
    "labels": {"case": "S26-1234"},
}
REGION = {
    "algorithm": "ki67",
    "scans": [
        {
            "id": "block-a",
            "source": {"type": "url", "url": "https://slides.example.org/S26-1234.svs"},
            "roi": {"x": 23198, "y": 15209, "width": 2048, "height": 2048},
            "mpp": 0.25,
            "stain": "Ki67",
        }
    ],
    "destination": {
        "type": "annotation",
        "url": "https://camicroscope.example.org/quip/upload",
        "case_id": "S26-1234",
    },
}
PICK_UP = {
    "algorithm": "ki67",
    "scans": [
        {"id": "1", "source": {"type": "url", "url": "https://slides.example.org/S26-1235.svs"}}
    ],
    "destination": {"type": "none"},
}
IMAGE_SERVER = {
    "algorithm": "ki67",
    "scans": [
        {
            "id": "hot-spot",
            "source": {
                "type": "image_server",
                "url": "https://images.example.org/iiif/S26-1236.svs",
                "protocol": "iiif",
            },
            "roi": {"polygon": [[23198, 15209], [25246, 15300], [24800, 17257]]},
            "mpp": 0.25,
        }
    ],
}
SERIES = {
    "algorithm": "ki67",
    "scans": [
        {
            "id": "1.2.826.0.1",
            "source": {
                "type": "url",
                "urls": [
                    "https://pacs.example.org/level-0.dcm",
                    "https://pacs.example.org/level-1.dcm",
                ],
            },
            "roi": {"pct": [25, 25, 50, 50]},
        }
    ],
}
HOLES = {
    "algorithm": "ki67",
    "scans": [
        {
            "id": "tumour",
            "source": {"type": "url", "url": "https://slides.example.org/S26-1237.svs"},
            "roi": {
                "geojson": {
                    "type": "MultiPolygon",
                    "coordinates": [
                        [
                            [[2000, 1200], [6000, 1200], [6000, 5200], [2000, 5200], [2000, 1200]],
                            [[3000, 2200], [3000, 3200], [4000, 3200], [3000, 2200]],
                        ],
                        [[[8000, 1200], [9000, 1200], [9000, 2200], [8000, 1200]]],
                    ],
                }
            },
        },
        {
            "id": "whole",
            "source": {"type": "url", "url": "https://slides.example.org/S26-1238.svs"},
            "roi": "full",
        },
    ],
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "whole-slide-to-techcyte": {
        "summary": "A whole slide, results to Techcyte",
        "value": WHOLE_SLIDE,
    },
    "region-to-annotation": {"summary": "One region, annotations to a loader", "value": REGION},
    "pick-up": {"summary": "Keep the results for pick-up", "value": PICK_UP},
    "region-of-an-image-server": {"summary": "A polygon on a IIIF server", "value": IMAGE_SERVER},
    "polygons-with-holes": {"summary": "Two polygons, one with a hole", "value": HOLES},
    "dicom-series": {"summary": "The middle of a DICOM series", "value": SERIES},
}
ORDER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="OrderRequest")},
                "examples": EXAMPLES,
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
                "example": {"destination": WHOLE_SLIDE["destination"]},
            }
        },
    }
}


class SlidelaneApi(FastAPI):
    """A FastAPI application whose OpenAPI document is completed."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is made once."""
        is_complete = self.openapi_schema is not None
        document = super().openapi()
        if not is_complete:
            _complete(document)
        return document


def _complete(document: dict[str, Any]) -> None:
    """Add the schemas that FastAPI does not see, and which operations need a key."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (OrderRequest, DeliverAgainRequest, ProblemAnswer):
        schema = model.model_json_schema(ref_template=REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    components["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = _security(path)


def _security(path: str) -> list[dict[str, list[str]]]:
    if path in OPEN:
        return []
    return [{name: []} for name in SECURITY_SCHEMES]
