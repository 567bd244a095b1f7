"""What all uploads take together, known without reading again what has not changed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from broker.errors import TemporaryError
from broker.uploads.limits import UploadLimits
from broker.uploads.manifest import Manifest, UploadedFile
from broker.uploads.sets import ManifestStamp, UploadSets

_RETRY_AFTER_S: Final = 60


@dataclass(frozen=True, slots=True)
class _SetUsage:
    """What one set takes. `unfinished`: its files while some of them are not whole, else none."""

    stamp: ManifestStamp
    caller: str
    files: int
    empty_files: int
    length: int
    unfinished: tuple[UploadedFile, ...]


class UploadUsage:
    """What the sets take. Call its methods under the lock of the sets.

    A manifest is read again once it has changed. Sets that are whole have no bytes to come, so
    their files are not looked at.
    """

    def __init__(self, sets: UploadSets) -> None:
        self._sets = sets
        self._known: dict[str, _SetUsage] = {}

    def refresh(self) -> None:
        """Read what has changed since the last call."""
        known = {}
        for set_id in self._sets.set_ids():
            stamp = self._sets.manifest_stamp(set_id)
            if stamp is None:
                continue
            usage = self._known.get(set_id)
            if usage is None or usage.stamp != stamp:
                usage = self._read(set_id, stamp)
            if usage is not None:
                known[set_id] = usage
        self._known = known

    def promised_bytes(self) -> int:
        """Return how many bytes of the uploads that were begun are still to come."""
        promised = 0
        for set_id, usage in list(self._known.items()):
            if not usage.unfinished:
                continue
            to_come = max(0, usage.length - self._sets.came_bytes(set_id, usage.unfinished))
            if to_come == 0:
                self._known[set_id] = replace(usage, unfinished=())
            promised += to_come
        return promised

    def check_count(self, caller: str, limits: UploadLimits) -> None:
        """Raise `TemporaryError` where the caller may begin no further set."""
        count = len(self._of(caller))
        if count >= limits.per_caller:
            raise _too_many(
                f"{count} uploads of this caller are kept, and services.uploads.per_caller "
                f"allows {limits.per_caller}"
            )

    def check_files(self, set_id: str, manifest: Manifest, limits: UploadLimits) -> None:
        """Raise `TemporaryError` where bytes, files or names of the caller would be too many.

        Whole uploads count until they are removed. Files and names take memory and entries of
        folders beside their bytes. `manifest`: of the set, as it will be.
        """
        others = self._of(manifest.caller, without=set_id)
        size_bytes = manifest.length + sum(one.length for one in others)
        if size_bytes > limits.per_caller_bytes:
            raise _too_many(
                f"the uploads of this caller would have {size_bytes} bytes, and "
                f"services.uploads.per_caller_bytes allows {limits.per_caller_bytes}"
            )
        files = len(manifest.files) + sum(one.files for one in others)
        if files > limits.files:
            raise _too_many(f"{limits.files} files of this caller are kept")
        empty_files = _empty_files(manifest.files) + sum(one.empty_files for one in others)
        if manifest.files[-1].length == 0 and empty_files > limits.empty_files:
            raise _too_many(f"{limits.empty_files} files of no bytes of this caller are kept")
        metadata_bytes = len(manifest.to_json()) + sum(one.stamp.size_bytes for one in others)
        if metadata_bytes > limits.metadata_bytes:
            raise _too_many(
                f"names and metadata of this caller's uploads would take {metadata_bytes} bytes, "
                f"and {limits.metadata_bytes} are kept",
                hint="DELETE uploads that are not needed, or send shorter metadata",
            )

    def _of(self, caller: str, without: str = "") -> list[_SetUsage]:
        return [
            usage
            for set_id, usage in self._known.items()
            if usage.caller == caller and set_id != without
        ]

    def _read(self, set_id: str, stamp: ManifestStamp) -> _SetUsage | None:
        manifest = self._sets.read_manifest(set_id)
        if manifest is None:
            return None
        return _SetUsage(
            stamp,
            manifest.caller,
            len(manifest.files),
            _empty_files(manifest.files),
            manifest.length,
            manifest.files,
        )


def _too_many(
    detail: str, hint: str = "DELETE those that are not needed; unused ones go by themselves"
) -> TemporaryError:
    return TemporaryError("too_many_uploads", detail, hint=hint, retry_after_s=_RETRY_AFTER_S)


def _empty_files(files: Iterable[UploadedFile]) -> int:
    return sum(1 for file in files if file.length == 0)
