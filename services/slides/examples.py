"""Answers about slides, as the description of the API shows them."""

from typing import Any, Final

SLIDE_ID: Final = "9f86d081884c7d659a2feaa0c55ad015"
ROOTS: Final[dict[str, Any]] = {"roots": [{"root": 0, "name": "slides"}]}
SLIDE: Final[dict[str, Any]] = {
    "id": SLIDE_ID,
    "state": "ready",
    "progress": {"done": 177_552_579, "total": 177_552_579},
    "name": "CMU-1.svs",
    "width": 46_000,
    "height": 32_914,
    "mpp_x": 0.499,
    "mpp_y": 0.499,
    "mpp_source": "slide",
    "vendor": "aperio",
    "levels": [
        {"width": 46_000, "height": 32_914, "downsample": 1.0},
        {"width": 11_500, "height": 8_228, "downsample": 4.0},
    ],
    "iiif": f"/v1/slides/{SLIDE_ID}/iiif",
    "associated": [],
}
LINK: Final[dict[str, Any]] = {
    "url": f"https://slides.example.org/v1/slides/{SLIDE_ID}/iiif/info.json?token=1790…",
    "token": "1790…",
    "expires_at": "2026-11-29T17:00:00Z",
}
INFO: Final[dict[str, Any]] = {
    "@context": "http://iiif.io/api/image/3/context.json",
    "id": f"https://slides.example.org/v1/slides/{SLIDE_ID}/iiif",
    "type": "ImageService3",
    "protocol": "http://iiif.io/api/image",
    "profile": "level1",
    "width": 46_000,
    "height": 32_914,
}
PREFLIGHT: Final[dict[str, Any]] = {
    "algorithm": "ki67",
    "scans": [
        {
            "id": "8946136",
            "width": 46_000,
            "height": 32_914,
            "mpp": 0.499,
            "mpp_source": "slide",
            "tiles": 1452,
            "expected_s": 93.7,
            "warnings": [],
        }
    ],
}
