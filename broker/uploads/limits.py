"""How much may be uploaded: by one caller, and as one slide."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from broker.errors import OrderError
from broker.uploads.errors import UploadTooLargeError
from broker.uploads.manifest import Manifest

MAX_FILES: Final = 1000
"""Of one slide."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one caller may send: `services.uploads`, and what no setting changes.

    `per_caller_bytes`: of all uploads together, of unfinished ones what was announced. `files`,
    `empty_files`: of all uploads together, the latter of length 0. `metadata_bytes`: what the
    manifests of all uploads take together.
    """

    max_bytes: int
    per_caller: int
    per_caller_bytes: int
    files: int = 100_000
    empty_files: int = 1000
    metadata_bytes: int = 64 * 2**20


def check_joins(manifest: Manifest, name: PurePosixPath, set_id: str) -> None:
    """Raise `OrderError` for a file that the set cannot take."""
    if len(manifest.files) >= MAX_FILES:
        raise OrderError(
            "request_invalid",
            f"the set {set_id} has {MAX_FILES} files already",
            hint="a slide has no more; send other slides as sets of their own",
            field="set",
        )
    for file in manifest.files:
        other = file.name
        if name in other.parents or other in name.parents:
            raise OrderError(
                "request_invalid",
                "filename: one file of the set has the name of a folder of another",
                hint="give each file of the slide its own name",
                field="Upload-Metadata",
            )


def check_length(length: int, max_bytes: int) -> None:
    """Raise `UploadTooLargeError` for a slide of more than `max_bytes`."""
    if length > max_bytes:
        raise UploadTooLargeError(
            f"the slide has {length} bytes, and at most {max_bytes} may be sent",
            hint="services.uploads.max_bytes is the limit",
        )
