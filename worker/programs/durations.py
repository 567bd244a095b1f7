"""How long the last runs of each program took, to tell how far one is that does not say so."""

import json
import logging
import statistics
from pathlib import Path
from typing import Final

_MOST: Final = 21
_log = logging.getLogger(__name__)


class Durations:
    """The last runs that ended well, in seconds, in a file for each algorithm."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder`, which is made when it is needed."""
        self._folder = folder

    def median_s(self, algorithm: str) -> float | None:
        """Return the median of the last runs, None before the first one."""
        durations = self._read(algorithm)
        if not durations:
            return None
        return statistics.median(durations)

    def add(self, algorithm: str, seconds: float) -> None:
        """Add a run. Where the disk refuses, log that and go on without."""
        durations = [*self._read(algorithm), round(seconds, 1)][-_MOST:]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / f".{algorithm}.new"
            new.write_text(json.dumps(durations))
            new.replace(self._path(algorithm))
        except OSError as error:
            _log.warning("how long %s took could not be kept: %s", algorithm, error.strerror)

    def _read(self, algorithm: str) -> list[float]:
        try:
            durations = json.loads(self._path(algorithm).read_text())
            return [float(one) for one in durations][-_MOST:]
        except (OSError, ValueError, TypeError):
            return []

    def _path(self, algorithm: str) -> Path:
        return self._folder / f"{algorithm}.json"
