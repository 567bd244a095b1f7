"""Unfinished work on disk, from which another attempt at a scan goes on.

Each attempt writes into a folder of its own, because a worker that was only believed dead may
still be writing into its folder. Whoever knows that an attempt is over may remove its folder.

    WORK.FENCE/found/        the object store
    WORK.FENCE/merging/      files to which the merger appends
    WORK.FENCE/state.TILES   what else a merger must know after so many tiles
    WORK.FENCE/point.json    how much of it counts; written last, so that later objects are ignored

Knows neither what is found nor how.
"""

import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Annotated, Final

from pydantic import Field, FiniteFloat, TypeAdapter

from worker.disk import DISK_FULL_ERRNOS, sync_file, sync_folder
from worker.inference.merging.merger import MergerState
from worker.results.object_store import ObjectStore

UNFINISHED: Final = Path("results", ".unfinished")
"""Below the storage's folder: on the same disk as the results, so that objects are only moved."""
EVERY_S: Final = 10.0
_POINT: Final = "point.json"
_MERGING: Final = "merging"
_STATE: Final = "state."
_FOLDER_NAME: Final = re.compile(r"([^.]+\.\d+)\.\d+", re.ASCII)
_log = logging.getLogger(__name__)
_Count = Annotated[int, Field(ge=0, strict=True)]


@dataclass(frozen=True, slots=True)
class Point:
    """How far a scan is: `tiles` are done and the first `objects` of the store count.

    `work` is the digest of everything that the findings depend on. `seams` is the state of the
    merger: tile number, x, y and class of each object that lies on a seam to tiles yet to come.
    `state_bytes` is the size of the file with what else it must know; 0 where there is none.
    """

    work: str
    tiles: _Count
    objects: _Count
    seams: Sequence[tuple[int, FiniteFloat, FiniteFloat, int]]
    state_bytes: _Count = 0


_POINTS: Final = TypeAdapter(Point)


class Checkpoint:
    """The unfinished work of one attempt at one scan, in the folder `…/WORK.FENCE`."""

    def __init__(self, folder: Path, every_s: float = EVERY_S, *, since: int = 0) -> None:
        """Marks are due every `every_s` seconds.

        Attempts with a fence up to `since` were made before somebody retried the scan. Their work
        may be why the scan failed, so nobody goes on from it.
        """
        work, _, fence = folder.name.rpartition(".")
        self._folder = folder
        self._work = work
        self._fence = int(fence)
        self._since = since
        self._every_s = every_s
        self._marked_at = monotonic()
        self._begun = False
        self.merger_state = MergerState(folder / _MERGING)
        """What the merger takes over of the work that `begin` returned."""

    def begin(self, work: str, tiles: int) -> tuple[ObjectStore, Point]:
        """Return the objects and the point from which the scan of so many `tiles` goes on.

        These are a copy of the work of the earlier attempt that came farthest with the same `work`
        digest; else an empty store at tile 0.

        Raises OSError where the disk has no room for the copy.
        """
        self._begun = True
        self._clean()
        for point, folder in self._earlier_points(work):
            if not 0 < point.tiles <= tiles:
                continue
            store = self._copied(folder, point)
            if store is not None:  # a store without objects is false, and as good
                return store, point
        self.merger_state.folder.mkdir(parents=True)
        return ObjectStore.begin(self._folder / "found"), Point(work, 0, 0, ())

    def begin_anew(self) -> Path:
        """Return the folder of this attempt, empty, for work that goes on from no other attempt.

        Raises OSError where it cannot be made.
        """
        self._begun = True
        self._clean()
        self._folder.mkdir(parents=True)
        return self._folder

    def due(self) -> bool:
        """Return whether it is time for another mark."""
        return monotonic() - self._marked_at >= self._every_s

    def mark(self, store: ObjectStore, point: Point, state: bytes = b"") -> None:
        """Write how far the scan is. Where the disk refuses, log that and go on without.

        `state` is what the merger must know beside what it appended to its files.

        Raises FileNotFoundError where the folder was removed: this attempt is over.
        """
        try:
            self._write(store, point, state)
        except FileNotFoundError:
            raise
        except OSError as error:
            _log.warning(
                "how far %s has come could not be saved: %s", self._folder.name, error.strerror
            )
        else:
            # this attempt holds all that the earlier ones found
            self._remove(*self._earlier_folders())
        self._marked_at = monotonic()

    def clear(self) -> None:
        """Remove all unfinished work of this scan up to this attempt."""
        self._remove(*self._earlier_folders(), self._folder)

    @property
    def gone(self) -> bool:
        """Whether somebody who knows that this attempt is over removed its folder after `begin`."""
        return self._begun and not self._folder.exists()

    def _earlier_folders(self) -> list[Path]:
        """Return the folders of the attempts before this one."""
        earlier = []
        with suppress(FileNotFoundError):
            # not Path.glob, which compiles an expression for each new pattern: 1 ms
            for folder in self._folder.parent.iterdir():
                work, _, fence = folder.name.rpartition(".")
                if work == self._work and fence.isdecimal() and int(fence) < self._fence:
                    earlier.append(folder)
        return earlier

    def _earlier_points(self, work: str) -> list[tuple[Point, Path]]:
        """Return how far earlier attempts at the same work came, the farthest first."""
        points = []
        for folder in self._earlier_folders():
            if int(folder.suffix[1:]) <= self._since:
                continue
            point = _read_point(folder)
            if point and point.work == work:
                points.append((point, folder))
        return sorted(points, key=_tiles_done, reverse=True)

    def _copied(self, attempt: Path, point: Point) -> ObjectStore | None:
        """Return a copy of another attempt's objects; the merger's files are copied too.

        Return None where it cannot be read: its worker may be alive and end it at any time.
        """
        store = ObjectStore.begin(self._folder / "found")
        try:
            store.copy(ObjectStore(attempt / "found"), point.objects)
            self.merger_state.folder.mkdir()
            for appended in (attempt / _MERGING).iterdir():
                shutil.copyfile(appended, self.merger_state.folder / appended.name)
            state = _read_state(attempt, point)
        except (OSError, ValueError) as error:
            self._clean()
            if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
                raise  # to begin at tile 0 would need as much room
            _log.warning("the unfinished work in %s cannot be used: %s", attempt.name, error)
            return None
        self.merger_state = MergerState(self._folder / _MERGING, point.seams, state)
        return store

    def _clean(self) -> None:
        """Remove what this attempt has so far."""
        self._remove(self._folder)
        self.merger_state = MergerState(self._folder / _MERGING)

    def _write(self, store: ObjectStore, point: Point, state: bytes) -> None:
        store.sync()
        for appended in self.merger_state.folder.iterdir():
            sync_file(appended)
        state_file = self._folder / f"{_STATE}{point.tiles}"
        if state:
            state_file.write_bytes(state)
            sync_file(state_file)
        new = self._folder / "point.new"
        new.write_bytes(_POINTS.dump_json(point))
        sync_file(new)
        new.replace(self._folder / _POINT)
        sync_folder(self._folder)
        for older in self._folder.glob(f"{_STATE}*"):
            if older != state_file:
                older.unlink()

    def _remove(self, *folders: Path) -> None:
        """Remove the folders, each one's point first: without it the rest does not count."""
        for folder in folders:
            with suppress(OSError):
                (folder / _POINT).unlink()
            shutil.rmtree(folder, ignore_errors=True)


def unfinished(storage: Path) -> Iterator[tuple[Path, str]]:
    """Yield every folder of unfinished work below the storage's folder, and its work's id."""
    for folder in (storage / UNFINISHED).glob("*.*.*"):
        named = _FOLDER_NAME.fullmatch(folder.name)
        if named:
            yield folder, named[1]


def _read_point(folder: Path) -> Point | None:
    """Return how far the attempt came; None where that is missing or damaged."""
    try:
        return _POINTS.validate_json((folder / _POINT).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("%s is not read: %s", folder / _POINT, type(error).__name__)
        return None


def _read_state(folder: Path, point: Point) -> bytes:
    """Return what the merger must know. Raises OSError or ValueError where it is not whole."""
    if not point.state_bytes:
        return b""
    state = (folder / f"{_STATE}{point.tiles}").read_bytes()
    if len(state) != point.state_bytes:
        raise ValueError(f"the merger's state has {len(state)} of {point.state_bytes} bytes")
    return state


def _tiles_done(earlier: tuple[Point, Path]) -> int:
    return earlier[0].tiles
