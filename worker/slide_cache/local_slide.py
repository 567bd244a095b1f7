"""A slide on this machine's disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class LocalSlide:
    """A slide that is near. `digest`: SHA-256 of its content, or `stat:…` for a file used where it lies.

    `bytes`: its length; of several files, the disk they take. `mpp`: microns per pixel as the locator says, where it
    was asked.
    """

    path: Path
    digest: str
    bytes: int
    mpp: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The copy as the record of a scan keeps it."""
        return {"path": str(self.path), "digest": self.digest, "bytes": self.bytes} | (
            {} if self.mpp is None else {"mpp": self.mpp}
        )
