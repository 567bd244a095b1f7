"""A slide on this machine's disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

STAT: Final = "stat:"
"""Begins the digest of a file that is used where it lies, and may change there."""


@dataclass(frozen=True, slots=True)
class LocalSlide:
    """A slide that can be opened at `path`.

    `digest`: SHA-256 of its content in hex, or `stat:…` for a file that is used where it lies.
    `bytes`: the length of its file; for a slide of several files, the disk space they take.
    `mpp`: microns per pixel as the case locator reports them, None where no locator was asked.
    """

    path: Path
    digest: str
    bytes: int
    mpp: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the slide as the record of a scan stores it."""
        record: dict[str, Any] = {
            "path": str(self.path),
            "digest": self.digest,
            "bytes": self.bytes,
        }
        if self.mpp is not None:
            record["mpp"] = self.mpp
        return record
