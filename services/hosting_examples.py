"""The examples of the OpenAPI document for destinations, images, containers, classes, jobs."""

from typing import Any, Final

_DIGEST: Final = "sha256:8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
_IMAGE: Final = "registry.lab.example/mitosis:3"
_ORDER: Final = "/v1/orders/2ee1f3898e91fee4ede9d4c1"
DESTINATIONS: Final[dict[str, Any]] = {
    "destinations": [
        {"name": "lab-techcyte", "type": "techcyte", "needs": ["task_id", "jwt_token"]},
        {"name": "loader", "type": "annotation", "needs": ["case_id"]},
    ]
}
IMAGES: Final[dict[str, Any]] = {
    "images": [
        {
            "name": "mitosis",
            "image": _IMAGE,
            "status": "uploaded",
            "digest": _DIGEST,
            "created_by": "anna",
            "created_at": "2026-11-20T08:15:00.000Z",
            "updated_at": "2026-11-20T08:17:12.000Z",
            "containers": ["mitosis"],
            "machines": [
                {
                    "machine": "gpu-a",
                    "status": "uploaded",
                    "digest": _DIGEST,
                    "engine": "podman",
                    "seen_s_ago": 12.4,
                },
                {
                    "machine": "gpu-b",
                    "status": "failed",
                    "failure": f"podman does not get the image {_IMAGE}: no route to host",
                    "digest": None,
                    "engine": None,
                    "seen_s_ago": 40.9,
                },
            ],
        }
    ]
}
CONTAINERS: Final[dict[str, Any]] = {
    "containers": [
        {
            "name": "mitosis",
            "kind": "container",
            "image": _IMAGE,
            "class": "g4dn.xlarge",
            "queue": "g4dn",
            "time_limit_s": 5400.0,
            "variables": ["DOWNSAMPLE", "LICENSE_KEY"],
            "available": True,
            "links": {
                "algorithm": "/v1/algorithms/mitosis",
                "jobs": "/v1/jobs?algorithm=mitosis",
            },
        }
    ]
}
CLASSES: Final[dict[str, Any]] = {
    "classes": [
        {
            "name": "g4dn.xlarge",
            "queue": "g4dn",
            "cpus": 4.0,
            "memory_bytes": 16_000_000_000,
            "gpus": 1,
            "workers": 2,
            "containers": ["mitosis"],
        }
    ]
}
JOBS: Final[dict[str, Any]] = {
    "jobs": [
        {
            "order": "2ee1f3898e91fee4ede9d4c1",
            "scan": "8946136",
            "algorithm": "mitosis",
            "created_at": "2026-11-20T09:00:00.000Z",
            "created_by": "lab",
            "state": "failed",
            "started_at": "2026-11-20T09:00:41.250Z",
            "ended_at": "2026-11-20T09:12:03.910Z",
            "duration_s": 682.66,
            "error": {
                "type": "urn:slidelane:problem:algorithm_answer_invalid",
                "title": "The algorithm's answer makes no result",
                "status": 500,
                "code": "algorithm_answer_invalid",
                "detail": "the program ended without posting results",
                "blame": "algorithm",
            },
            "links": {
                "order": _ORDER,
                "log": f"{_ORDER}/log",
                "output.log": f"{_ORDER}/scans/8946136/output.log",
            },
        }
    ],
    "next": None,
}
