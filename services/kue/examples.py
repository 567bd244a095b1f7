"""What the description of the API shows of Kue's addresses."""

from typing import Any, Final

ADDRESSES: Final = (
    "/job",
    "/job/types",
    "/job/{job_id}",
    "/job/{job_id}/log",
    "/job/{job_id}/priority/{priority}",
    "/job/{job_id}/state/{state}",
    "/inactive/{job_id}",
    "/jobs/{listing}",
    "/stats",
)
"""Behind `/kue`, as the description has them."""
JOB: Final[dict[str, Any]] = {
    "type": "analysisJob",
    "data": {
        "title": "title1 :: ",
        "algorithm": "seg:r1:w0.8:l3:u10:k20:j0",
        "execution_id": "seg:r1:w0.8:l3:u10:k20:j0",
        "created_by": "user1",
        "notes": "",
        "order": {
            "pr": "1",
            "pw": "0.8",
            "pl": "3",
            "pu": "10",
            "pk": "20",
            "pj": "0",
            "image": {
                "case_id": "CMU1",
                "subject_id": "CMU1",
                "width": "48002",
                "height": "35558",
                "source": "image_server",
            },
            "roi": {
                "x": "23198",
                "y": "15209",
                "w": "207",
                "h": "141",
                "full": "false",
                "square": "false",
                "pct": "false",
            },
        },
    },
}
CREATED: Final = {"message": "job created", "id": 14}
FAILED_JOB: Final[dict[str, Any]] = {
    "id": "14",
    "type": "analysisJob",
    "data": JOB["data"],
    "priority": 0,
    "progress": "9",
    "progress_data": {"order": "2ee1f3898e91fee4ede9d4c1", "stage": "failed", "eta_s": 0.0},
    "state": "failed",
    "error": "roi_outside_slide: the region lies outside the slide",
    "created_at": "1764432000000",
    "promote_at": "1764432000000",
    "updated_at": "1764432003000",
    "failed_at": "1764432003000",
    "started_at": "1764432001000",
    "attempts": {"made": 1, "remaining": 0, "max": 1},
}
STATS: Final = {
    "inactiveCount": 0,
    "completeCount": 12,
    "activeCount": 1,
    "failedCount": 1,
    "delayedCount": 0,
    "workTime": 48210,
}
_SENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "description": "one of `services.kue.types`"},
        "data": {"type": "object", "description": "what the viewer sends: case, region, run"},
        "options": {
            "type": "object",
            "properties": {
                "priority": {"type": ["string", "integer"]},
                "attempts": {"type": ["string", "integer"]},
                "delay": {"type": ["string", "integer"], "description": "ms"},
                "ttl": {"type": ["string", "integer"], "description": "shown, not used"},
            },
        },
    },
}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_SENT, {"type": "array", "items": _SENT, "maxItems": 1000}]},
                "example": JOB,
            }
        },
    }
}
