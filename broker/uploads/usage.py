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
            raise TemporaryError(
                "too_many_uploads",
                f"{count} uploads of this caller are kept, and services.uploads.per_caller "
                f"allows {limits.per_caller}",
                hint="DELETE those that are not needed; unused ones go by themselves",
                retry_after_s=_RETRY_AFTER_S,
            )

    def check_files(self, set_id: str, manifest: Manifest, limits: UploadLimits) -> None:
        """Raise `TemporaryError` where names or empty files of the caller would be too many.

        They take memory and entries of folders, and no byte that `max_bytes` counts. `manifest`:
        of the set, as it will be.
        """
        others = self._of(manifest.caller, without=set_id)
        empty_files = _empty_files(manifest.files) + sum(one.empty_files for one in others)
        if manifest.files[-1].length == 0 and empty_files > limits.empty_files:
            raise TemporaryError(
                "too_many_uploads",
                f"{limits.empty_files} files of no bytes of this caller are kept",
                hint="DELETE those that are not needed; unused ones go by themselves",
                retry_after_s=_RETRY_AFTER_S,
            )
        size_bytes = len(manifest.to_json()) + sum(one.stamp.size_bytes for one in others)
        if size_bytes > limits.metadata_bytes:
            raise TemporaryError(
                "too_many_uploads",
                f"names and metadata of this caller's uploads would take {size_bytes} bytes, and "
                f"{limits.metadata_bytes} are kept",
                hint="DELETE uploads that are not needed, or send shorter metadata",
                retry_after_s=_RETRY_AFTER_S,
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
            _empty_files(manifest.files),
            manifest.length,
            manifest.files,
        )


def _empty_files(files: Iterable[UploadedFile]) -> int:
    return sum(1 for file in files if file.length == 0)
