"""What each operation answers: an example of its success, and every error with its codes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.errors import CODES, ErrorCode, Problem
from broker.orders.result_files import MEDIA_TYPES
from services import examples, hosting_examples
from services.kue import examples as kue
from services.live import examples as live
from services.responses import problems
from services.slides import examples as slides

PROBLEM_SCHEMA: Final = {"$ref": "#/components/schemas/ProblemAnswer"}
JSON: Final = "application/json"
TEXT: Final = "text/plain"
BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_HEADERS: Final[Mapping[int, Any]] = {
    201: {"Location": {"description": "path of the upload", "schema": {"type": "string"}}},
    202: {"Location": {"description": "path of the order", "schema": {"type": "string"}}},
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    416: {
        "Content-Range": {
            "description": "how many bytes the file has",
            "schema": {"type": "string"},
        }
    },
    429: {"Retry-After": {"description": "seconds", "schema": {"type": "string"}}},
    503: {"Retry-After": {"description": "seconds", "schema": {"type": "string"}}},
}
"""The headers of an answer that say what to do next, by status."""
_ANY_REQUEST: Final[tuple[ErrorCode, ...]] = (
    "request_malformed",
    "headers_too_slow",
    "headers_too_large",
    "bug",
    "too_many_connections",
)
_READ: Final[tuple[ErrorCode, ...]] = (
    *_ANY_REQUEST,
    "key_missing",
    "key_refused",
    "loopback_only",
    "store_unreachable",
)
_CHANGE: Final[tuple[ErrorCode, ...]] = (*_READ, "foreign_origin")
_ACT: Final[tuple[ErrorCode, ...]] = (*_CHANGE, "not_found", "state_conflict")
_DOWNLOAD: Final[tuple[ErrorCode, ...]] = (
    *_READ,
    "not_found",
    "not_ready",
    "range_not_satisfiable",
    "storage_unreachable",
)
_TILE_ERRORS: Final[tuple[ErrorCode, ...]] = (
    *_READ,
    "not_found",
    "not_ready",
    "result_damaged",
    "storage_unreachable",
)
_ORDER: Final[tuple[ErrorCode, ...]] = (
    "body_not_json",
    "body_too_slow",
    "body_too_large",
    "request_invalid",
    "algorithm_unknown",
    "algorithm_unavailable",
    "algorithms_not_announced",
    "parameters_invalid",
    "host_not_allowed",
    "path_not_allowed",
    "roi_outside_slide",
    "roi_too_large",
    "stain_unexpected",
    "input_expired",
    "slide_unknown",
    "upload_not_found",
    "upload_incomplete",
    "uploads_locked",
    "too_many_waiting",
)
_PLACE: Final[tuple[ErrorCode, ...]] = (
    *_CHANGE,
    *_ORDER,
    "media_type_unsupported",
    "key_reused",
)
_PASTED_TASK: Final[tuple[ErrorCode, ...]] = (
    *_CHANGE,
    *_ORDER,
    "media_type_unsupported",
    "task_reused",
)
_TECHCYTE_TASK: Final[tuple[ErrorCode, ...]] = (
    *_ANY_REQUEST,
    *_ORDER,
    "not_found",
    "store_unreachable",
    "task_reused",
)

_UPLOAD: Final[tuple[ErrorCode, ...]] = (
    *_ANY_REQUEST,
    "key_missing",
    "key_refused",
    "loopback_only",
    "tus_version_unsupported",
)
_UPLOAD_CHANGE: Final[tuple[ErrorCode, ...]] = (*_UPLOAD, "foreign_origin", "upload_not_found")
_UPLOAD_CREATE: Final[tuple[ErrorCode, ...]] = (
    *_UPLOAD_CHANGE,
    "request_invalid",
    "upload_too_large",
    "uploads_full",
    "uploads_locked",
    "too_many_uploads",
)
_UPLOAD_APPEND: Final[tuple[ErrorCode, ...]] = (
    *_UPLOAD_CHANGE,
    "body_too_slow",
    "media_type_unsupported",
    "upload_busy",
    "upload_offset_wrong",
    "upload_too_large",
    "uploads_full",
)


@dataclass(frozen=True)
class Answers:
    """The answers of one operation.

    `content` is its success, by media type; `others` are answers that are neither that nor errors.
    """

    status: int
    content: Mapping[str, Mapping[str, Any]]
    codes: tuple[ErrorCode, ...]
    others: Mapping[str, Any] = field(default_factory=dict)

    def responses(self) -> dict[str, Any]:
        """Return the `responses` of the operation, without the success's own description."""
        success: dict[str, Any] = {"content": dict(self.content)}
        if self.status in _HEADERS:
            success["headers"] = _HEADERS[self.status]
        found: dict[str, Any] = {str(self.status): success, **self.others}
        for status in sorted({CODES[code].status for code in self.codes}):
            codes = [code for code in self.codes if CODES[code].status == status]
            response = problem_response(codes)
            response["content"] |= found.get(str(status), {}).get("content", {})
            found[str(status)] = response
        return found


def problem_response(codes: list[ErrorCode]) -> dict[str, Any]:
    """Return the response of one status, with an example for each code."""
    described = [f"`{code}`: {CODES[code].title}" for code in codes]
    shown = {code: {"value": _example_of(code)} for code in codes}
    content = {problems.MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "examples": shown}}
    response: dict[str, Any] = {"description": "; ".join(described), "content": content}
    headers = _HEADERS.get(CODES[codes[0]].status)
    if headers:
        response["headers"] = headers
    return response


def _example_of(code: ErrorCode) -> dict[str, Any]:
    known = CODES[code]
    problem = Problem(code, known.title, blame=known.blame)
    return problems.body_of(problem, "/v1/orders/2ee1f3898e91fee4ede9d4c1")


def _json(example: Any) -> dict[str, dict[str, Any]]:
    return {JSON: {"example": example}}


def _text(example: str) -> dict[str, dict[str, Any]]:
    return {TEXT: {"schema": {"type": "string"}, "example": example}}


def _result_files() -> dict[str, dict[str, Any]]:
    shown: dict[str, dict[str, Any]] = {
        "application/geo+json": {"schema": {"type": "object"}, "example": examples.FEATURES},
        "text/csv": {"schema": {"type": "string"}, "example": examples.OBJECTS_CSV},
        JSON: {"schema": {"type": "object"}, "example": examples.RESULTS_JSON},
    }
    kinds = (*MEDIA_TYPES.values(), "application/zip")
    return {kind: shown.get(kind, BINARY) for kind in kinds}


_FILES: Final = _result_files()
_PAYLOAD: Final = {
    JSON: {"schema": {"type": "object"}, "example": examples.PAYLOAD},
    "multipart/form-data": BINARY,
}
_BATCH: Final = {
    "200": {
        "description": "With `validate_only=true`: what would become of the order",
        "content": _json(slides.PREFLIGHT),
    },
    "207": {
        "description": "What became of each order of a list, in its order",
        "content": _json([{"status": 202, "order": examples.WAITING_ORDER}]),
    },
}
_ENDED_IN_TIME: Final = {
    "200": {
        "description": "With `Prefer: wait=N`: the order, which has ended",
        "content": _json(examples.ORDER),
    }
}
_MODEL_SCHEMA: Final = {
    "application/schema+json": {
        "schema": {"type": "object"},
        "example": {"title": "model.json of Slidelane, version 1"},
    }
}
_UNCHANGED: Final = {"304": {"description": "The caller has this version already"}}
_PART_OF_FILE: Final = {"206": {"description": "The range that was asked for", "content": _FILES}}
_OWN_FILE: Final = {
    "application/octet-stream": {**BINARY, "example": "the bytes of the file, as the code wrote it"}
}
_PART_OF_OWN_FILE: Final = {
    "206": {"description": "The range that was asked for", "content": _OWN_FILE}
}
_TILE: Final = {"application/octet-stream": {**BINARY, "example": "the bytes of the tile"}}
_EMPTY_TILE: Final = {"204": {"description": "Nothing was found there"}}
_PART_OF_PAYLOAD: Final = {
    "206": {"description": "The range that was asked for", "content": _PAYLOAD}
}
_EVENTS: Final = {
    "text/event-stream": {"schema": {"type": "string"}, "example": live.EVENTS},
}
_FOLLOW: Final[tuple[ErrorCode, ...]] = (*_READ, "not_found")
_KUE: Final[tuple[ErrorCode, ...]] = (*_ANY_REQUEST, "not_found")
"""Of the server itself, and where the door is closed; other errors are `{"error": …}` as Kue's."""
_LOGIN: Final[tuple[ErrorCode, ...]] = (
    *_CHANGE,
    "body_not_json",
    "body_too_slow",
    "body_too_large",
    "media_type_unsupported",
    "request_invalid",
    "login_needs_https",
    "too_many_logins",
)
_KUE_CHANGE: Final[tuple[ErrorCode, ...]] = (*_KUE, "foreign_origin")
_KUE_REFUSED: Final = {
    "400": {"description": "Kue", "content": _json({"error": "Must provide job type"})},
    "204": {"description": "The body has no job, or is not declared as JSON"},
}
_SLIDE: Final[tuple[ErrorCode, ...]] = (*_READ, "not_found", "viewer_unavailable")
_PIXELS: Final[tuple[ErrorCode, ...]] = (*_SLIDE, "not_ready", "slide_gone", "slide_unreadable")
_LOOK: Final[tuple[ErrorCode, ...]] = (
    *_CHANGE,
    "body_not_json",
    "body_too_slow",
    "body_too_large",
    "media_type_unsupported",
    "request_invalid",
    "host_not_allowed",
    "path_not_allowed",
    "input_expired",
    "input_not_found",
    "not_found",
    "not_a_slide",
    "slide_unreadable",
    "too_many_waiting",
    "viewer_unavailable",
    "uploads_locked",
)
_IMAGE: Final[dict[str, Any]] = {
    "application/ld+json": {"schema": {"type": "object"}, "example": slides.INFO},
    "image/jpeg": BINARY,
}
_LABEL: Final[dict[str, Any]] = {"image/jpeg": {**BINARY, "example": "the bytes of the picture"}}
_TO_INFO: Final = {
    "303": {"description": "From the base URI to its info.json"},
    "304": {"description": "The caller has this picture already"},
}
_FETCHED_FIRST: Final = {
    "202": {
        "description": "The slide is fetched first",
        "content": _json(slides.SLIDE | {"state": "fetching"}),
    }
}
ANSWERS: Final[Mapping[str, Answers]] = {
    "log_in": Answers(204, {}, _LOGIN),
    "get_session": Answers(200, _json(live.SESSION), _READ),
    "log_out": Answers(204, {}, _CHANGE),
    "place_order": Answers(202, _json(examples.WAITING_ORDER), _PLACE, _BATCH | _ENDED_IN_TIME),
    "place_techcyte_task": Answers(202, _json(examples.WAITING_ORDER), _PASTED_TASK),
    "take_techcyte_task": Answers(200, _json(examples.TAKEN_TASK), _TECHCYTE_TASK),
    "list_orders": Answers(200, _json(examples.ORDERS_PAGE), (*_READ, "request_invalid")),
    "list_orders_as_csv": Answers(
        200, {"text/csv": _text(examples.ORDERS_CSV)[TEXT]}, (*_READ, "request_invalid")
    ),
    "delete_order": Answers(204, {}, _ACT),
    "stream_events": Answers(200, _EVENTS, (*_FOLLOW, "request_invalid")),
    "stream_order_events": Answers(200, _EVENTS, (*_FOLLOW, "request_invalid")),
    "get_order": Answers(200, _json(examples.ORDER), (*_READ, "not_found"), _UNCHANGED),
    "get_log": Answers(200, _text(examples.LOG), (*_READ, "not_found", "request_invalid")),
    "cancel_order": Answers(202, _json(examples.CANCELLED_ORDER), _ACT),
    "retry_order": Answers(202, _json(examples.WAITING_ORDER), _ACT),
    "deliver_order": Answers(202, _json(examples.DELIVERING_ORDER), _ACT),
    "get_result": Answers(200, _FILES, _DOWNLOAD, _PART_OF_FILE),
    "get_own_file": Answers(200, _OWN_FILE, _DOWNLOAD, _PART_OF_OWN_FILE),
    "get_findings_tile": Answers(200, _TILE, _TILE_ERRORS, {**_EMPTY_TILE, **_UNCHANGED}),
    "get_payload": Answers(200, _PAYLOAD, _DOWNLOAD, _PART_OF_PAYLOAD),
    "list_slides": Answers(
        200, _json(slides.ROOTS), (*_SLIDE, "request_invalid", "request_malformed")
    ),
    "look_at_slide": Answers(201, _json(slides.SLIDE), _LOOK, _FETCHED_FIRST),
    "get_slide": Answers(200, _json(slides.SLIDE), _SLIDE),
    "forget_slide": Answers(204, {}, (*_CHANGE, "not_found")),
    "link_slide": Answers(201, _json(slides.LINK), (*_CHANGE, "not_found")),
    "get_slide_image": Answers(200, _IMAGE, (*_PIXELS, "request_malformed"), _TO_INFO),
    "get_slide_picture": Answers(200, _LABEL, (*_PIXELS, "labels_not_shown")),
    "get_scan_image": Answers(200, _IMAGE, (*_PIXELS, "request_malformed"), _TO_INFO),
    "list_algorithms": Answers(200, _json(examples.CARDS), _READ),
    "get_algorithm": Answers(200, _json(examples.CARD), (*_READ, "not_found")),
    "get_algorithm_text": Answers(200, _text(examples.README), (*_READ, "not_found")),
    "get_model_schema": Answers(200, _MODEL_SCHEMA, _READ),
    "create_kue_job": Answers(200, _json(kue.CREATED), _KUE_CHANGE, _KUE_REFUSED),
    "get_kue_job": Answers(200, _json(kue.FAILED_JOB), _KUE),
    "get_kue_log": Answers(200, _json(["2026-11-29T16:00:00.000Z queued"]), _KUE),
    "remove_kue_job": Answers(200, _json({"message": "job 14 removed"}), _KUE_CHANGE),
    "set_kue_priority": Answers(200, _json({"message": "updated priority"}), _KUE_CHANGE),
    "set_kue_state": Answers(200, _json({"message": "updated state"}), _KUE_CHANGE),
    "restart_kue_job": Answers(200, _json({"message": "job 14 inactive"}), _KUE_CHANGE),
    "list_kue_jobs": Answers(200, _json([kue.FAILED_JOB | {"id": 14}]), _KUE),
    "list_kue_types": Answers(200, _json(["analysisJob"]), _KUE),
    "get_kue_stats": Answers(200, _json(kue.STATS), _KUE),
    "describe_uploads": Answers(204, {}, _UPLOAD),
    "describe_upload": Answers(204, {}, _UPLOAD),
    "create_upload": Answers(201, _json(examples.CREATED_UPLOAD), _UPLOAD_CREATE),
    "get_upload": Answers(200, _text(""), (*_UPLOAD, "upload_not_found")),
    "append_to_upload": Answers(204, {}, _UPLOAD_APPEND),
    "delete_upload": Answers(204, {}, (*_UPLOAD_CHANGE, "upload_busy", "uploads_locked")),
    "list_destinations": Answers(200, _json(hosting_examples.DESTINATIONS), _READ),
    "list_images": Answers(200, _json(hosting_examples.IMAGES), _READ),
    "list_containers": Answers(200, _json(hosting_examples.CONTAINERS), _READ),
    "list_classes": Answers(200, _json(hosting_examples.CLASSES), _READ),
    "list_templates": Answers(200, _json(examples.TEMPLATES), _READ),
    "list_jobs": Answers(200, _json(hosting_examples.JOBS), (*_READ, "request_invalid")),
    "list_queues": Answers(200, _json(examples.QUEUES), _READ),
    "get_queue": Answers(200, _json(examples.DEMAND), (*_READ, "request_invalid")),
    "get_system": Answers(200, _json(live.SYSTEM), _READ),
    "metrics": Answers(200, _text(examples.METRICS), _READ),
    "healthz": Answers(200, _json({"status": "ok"}), _ANY_REQUEST),
    "readyz": Answers(200, _json({"status": "ready"}), (*_ANY_REQUEST, "workers_missing")),
}
"""By the operation's id, which is the name of its function."""
