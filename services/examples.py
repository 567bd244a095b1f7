"""The examples of the OpenAPI document: orders that are accepted, and what is answered."""

from typing import Any

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
    "notify": {
        "type": "webhook",
        "url": "https://lab.example.org/slidelane",
        "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "events": ["order.failed", "order.undelivered"],
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
BY_TEMPLATE = {
    "template": "hot-spot",
    "scans": [
        {
            "id": "block-a",
            "source": {"type": "url", "url": "https://slides.example.org/S26-1239.svs"},
            "roi": {"x": 23198, "y": 15209, "width": 2048, "height": 2048},
        }
    ],
    "labels": {"case": "S26-1239"},
}
TEMPLATES = {
    "templates": [
        {
            "name": "hot-spot",
            "title": "Ki-67 in a hot spot",
            "algorithm": "ki67",
            "parameters": {"positive_threshold": 0.15},
            "destination": "lab",
            "priority": "normal",
            "labels": {"study": "S-7"},
            "roi": {
                "required": True,
                "max_area_mm2": 4.0,
                "max_width_px": None,
                "max_height_px": None,
                "max_count": 3,
            },
            "allow": ["labels", "priority"],
        }
    ]
}
BY_POLICY = {
    "scans": [
        {
            "id": "block-b",
            "source": {"type": "case", "case_id": "S26-1240"},
            "stain": "Ki67",
        }
    ],
    "labels": {"case": "S26-1240"},
}
ORDERS: dict[str, dict[str, Any]] = {
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

ORDER: dict[str, Any] = {
    "id": "2ee1f3898e91fee4ede9d4c1",
    "state": "delivered",
    "algorithm": "ki67",
    "parameters": {"positive_threshold": 0.15},
    "priority": "high",
    "labels": {"case": "S26-1234"},
    "created_at": "2026-11-21T07:47:45.321Z",
    "updated_at": "2026-11-21T07:47:51.909Z",
    "expires_at": "2026-11-28T07:47:45.321Z",
    "created_by": "pathology-lab",
    "acts": [],
    "progress": {"stage": "delivered", "percent": 100.0, "eta_s": 0.0},
    "destination": {"type": "techcyte", "host": "ci.techcyte.com", "task_id": "dGFzazoxODU3MTQ="},
    "scans": [
        {
            "id": "8946136",
            "state": "classified",
            "source": {"type": "url", "url": "https://bucket.example.org/slide.svs?…"},
            "progress": {"stage": "classified", "done": 1, "total": 1, "eta_s": 0.0},
            "timings": {"fetch_s": 0.064, "classify_s": 3.293, "tiles": 4.0},
            "bottleneck": "model",
            "summary": {"nuclei": 3378, "positive": 2316, "labelling_index_pct": 68.6},
            "warnings": [],
            "links": {
                "results.json": "/v1/orders/2ee1f3898e91fee4ede9d4c1/scans/8946136/results.json"
            },
        }
    ],
    "delivery": {
        "state": "delivered",
        "attempts": [{"at": "2026-11-21T07:47:51.816Z", "status": 201, "outcome": "accepted"}],
    },
    "warnings": [],
    "links": {
        "self": "/v1/orders/2ee1f3898e91fee4ede9d4c1",
        "log": "/v1/orders/2ee1f3898e91fee4ede9d4c1/log",
        "payload": "/v1/orders/2ee1f3898e91fee4ede9d4c1/payload",
    },
}
WAITING_ORDER: dict[str, Any] = ORDER | {
    "state": "queued",
    "updated_at": "2026-11-21T07:47:45.321Z",
    "progress": {"stage": "queued", "percent": 0.0, "eta_s": None},
    "scans": [
        {
            "id": "8946136",
            "state": "queued",
            "source": {"type": "url", "url": "https://bucket.example.org/slide.svs?…"},
            "waiting": {"queue": "fetch.high", "ahead": 0, "reason": "a courier takes it next"},
            "progress": {"stage": "queued", "done": 0, "total": 0, "eta_s": None},
            "timings": {},
            "summary": {},
            "warnings": [],
            "links": {},
        }
    ],
    "delivery": {"state": "waiting", "attempts": []},
    "links": {
        "self": "/v1/orders/2ee1f3898e91fee4ede9d4c1",
        "log": "/v1/orders/2ee1f3898e91fee4ede9d4c1/log",
    },
}
TAKEN_TASK = {"message": "Processing started", "order_id": "2ee1f3898e91fee4ede9d4c1"}
CANCELLED_ORDER: dict[str, Any] = WAITING_ORDER | {
    "state": "cancelled",
    "acts": [{"at": "2026-11-21T07:47:46.020Z", "act": "cancel", "by": "pathology-lab"}],
    "progress": {"stage": "cancelled", "percent": 0.0, "eta_s": None},
    "scans": [
        {
            "id": "8946136",
            "state": "cancelled",
            "source": {"type": "url", "url": "https://bucket.example.org/slide.svs?…"},
            "progress": {"stage": "cancelled", "done": 0, "total": 0, "eta_s": None},
            "timings": {},
            "summary": {},
            "warnings": [],
            "links": {},
        }
    ],
    "delivery": {"state": "none", "attempts": []},
}
DELIVERING_ORDER: dict[str, Any] = ORDER | {
    "state": "delivering",
    "progress": {"stage": "deliver", "percent": 95.0, "eta_s": None},
    "delivery": {"state": "trying", "attempts": []},
}
ORDERS_PAGE: dict[str, Any] = {"orders": [ORDER], "next": None}
LOG = """2026-11-21T07:47:45.321Z accepted
2026-11-21T07:47:51.909Z delivered
"""
CARD: dict[str, Any] = {
    "name": "ki67",
    "version": "1",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "title": "Ki-67",
    "description": "Counts positive and negative nuclei.",
    "output": "objects",
    "mpp": 0.5,
    "tile_px": 1024,
    "halo_px": 64,
    "stains": ["H-DAB"],
    "classes": [
        {
            "name": "positive",
            "color": "#ffd500",
            "annotation_type": "ki67_positive",
            "title": "Positive",
        }
    ],
    "measurements": ["area_um2"],
    "parameters": {
        "type": "object",
        "properties": {"positive_threshold": {"type": "number", "default": 0.15}},
    },
    "tolerance": 0,
    "queue": "gpu",
    "lane": "gpu",
    "time_limit_s": 7200,
    "stall_limit_s": 300,
    "ruo": True,
    "available": True,
    "links": {
        "self": "/v1/algorithms/ki67",
        "README.md": "/v1/algorithms/ki67/README.md",
    },
}
README = """# Breast tumour, 0.5 um

Trained on 1,200 slides of three hospitals.
"""
CARDS: dict[str, Any] = {"algorithms": [CARD]}
QUEUES: dict[str, Any] = {
    "queues": [
        {
            "name": "gpu.high",
            "stage": "classify",
            "leg": "classify",
            "waiting": 3,
            "running": 1,
            "oldest_wait_s": 12.5,
            "workers": 1,
        }
    ]
}
DEMAND: dict[str, Any] = {"name": "gpu", "waiting": 3, "running": 1, "unfinished": 4}
METRICS = """# HELP slidelane_up 1 when Redis answers
# TYPE slidelane_up gauge
slidelane_up 1.0
"""
RESULTS_JSON: dict[str, Any] = {"summary": {"nuclei": 3378}, "warnings": []}
FEATURES: dict[str, Any] = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [2412, 1733]},
            "properties": {"objectType": "detection", "classification": {"name": "Positive"}},
        }
    ],
}
OBJECTS_CSV = """id,class,x,y,score,area_um2
0c7b6e0e-3a0e-5b1e-8c53-3f2a4c1d9a10,positive,2412.0,1733.0,0.91,48.2
"""
PAYLOAD: dict[str, Any] = {"results": "as the destination gets them"}


ORDERS_CSV = (
    "order,state,algorithm,created_at,updated_at,created_by,scan,scan_state,error,warnings,"
    "headline,label.case,result.nuclei\n"
    "2ee1f3898e91fee4ede9d4c1,delivered,ki67,2026-11-29T07:00:00.000Z,2026-11-29T07:00:09.512Z,"
    "lab,8946136,classified,,,Ki-67 labelling index 31.2 % (312 of 1000 nuclei),S26-1234,1000\n"
)
CREATED_UPLOAD: dict[str, Any] = {
    "upload": "5f1c9a0d3b7e4c6f8a2d1e0b9c8f7a6d-0",
    "set": "5f1c9a0d3b7e4c6f8a2d1e0b9c8f7a6d",
    "offset": 0,
    "length": 1477433278,
}
