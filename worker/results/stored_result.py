"""Stores the result of a scan where all machines see it, and says what the record gets of it."""

from dataclasses import dataclass
from typing import Any

from broker.file_storage.interface import OnProgress, Storage
from worker.results import result_folder
from worker.results.overlay.drawing import OverlayDrawing
from worker.results.result import Result


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A stored result: its key, its size, and the fields of the record that describe it."""

    key: str
    bytes: int
    fields: dict[str, Any]


def store_result(
    storage: Storage, key: str, result: Result, overlay: OverlayDrawing, on_progress: OnProgress
) -> StoredResult:
    """Write the result to `key` and share it with all machines.

    The result must not be used afterwards; see `result_folder.save`, which says what is raised.
    Raises TemporaryError where the storage fails.
    """
    folder = storage.folder / key
    kept_bytes = result_folder.save(folder, result, overlay)
    findings = result.findings
    headline = {"headline": findings.headline}
    fields = {
        "result": key,
        "files": result_folder.optional_files(folder),  # a bucket's folder is gone once shared
        "summary": findings.summary | headline | findings.frame.as_dict(),
        "warnings": [warning.model_dump() for warning in result.warnings],
    }
    storage.share(key, on_progress)
    return StoredResult(key, kept_bytes, fields)
