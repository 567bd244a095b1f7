"""Finds where the append-only file of the embedded Redis is damaged, and cuts it there.

The server's own program is the tool: started by the name `valkey-check-aof` it checks a file. It is
given the newest file alone. Of Valkey 9.1.2 it does not know the header of the base file and would
call every set of files damaged; and only the newest file may be cut.
"""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from broker.settings.section import ConfigError

_FOLDER = "appendonlydir"
_MANIFEST = "appendonly.aof.manifest"
_OLD_FILE = "appendonly.aof"
"""The only file of Redis 6.2."""
_INCREMENT = re.compile(r"^file (\S+) seq (\d+) type i$", re.MULTILINE)
_FOUND = re.compile(r"size=(\d+), ok_up_to=(\d+)")
_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with the newest file: it can be read up to `sound_bytes` only."""

    path: Path
    size_bytes: int
    sound_bytes: int

    def __str__(self) -> str:
        return (
            f"the append-only file {self.path} is damaged: of its {self.size_bytes} bytes the "
            f"first {self.sound_bytes} can be read"
        )


class AppendOnlyFile:
    """The append-only file in one folder of the embedded Redis, while no server writes it."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._folder = folder
        self._server = server

    def damage(self) -> Damage | None:
        """Return the damage of the newest file; None where there is none or no file.

        Raise `ConfigError` where the tool does not work.
        """
        path = self._newest()
        if path is None:
            return None
        shown, status = self._check(path)
        found = _FOUND.search(shown)
        if found is None:
            raise ConfigError(f"{path} could not be checked: {' '.join(shown.split())[-200:]}")
        size_bytes, sound_bytes = int(found[1]), int(found[2])
        if status == 0 and size_bytes == sound_bytes:
            return None
        return Damage(path, size_bytes, sound_bytes)

    def cut(self, damage: Damage) -> Path:
        """Cut what cannot be read off the end of the file, and return the copy made before.

        Raise `ConfigError` where that fails; `OSError` where the disk has no room for the copy.
        """
        copy = damage.path.parent.parent / f"{damage.path.name}.damaged-{int(time.time())}"
        shutil.copy2(damage.path, copy)
        shown, status = self._check(damage.path, "--fix")
        if status != 0 or self.damage() is not None:
            raise ConfigError(
                f"{damage.path} could not be repaired: {' '.join(shown.split())[-200:]}; "
                f"a copy of it is {copy}"
            )
        return copy

    def _check(self, path: Path, *options: str) -> tuple[str, int]:
        """Return what the tool writes, and its exit status."""
        try:
            done = subprocess.run(
                ["valkey-check-aof", *options, path],
                executable=self._server,
                input="y\n",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{path} could not be checked ({type(error).__name__})") from None
        return done.stdout + done.stderr, done.returncode

    def _newest(self) -> Path | None:
        """Return the file that was written last."""
        try:
            manifest = (self._folder / _FOLDER / _MANIFEST).read_text()
        except FileNotFoundError:
            old = self._folder / _OLD_FILE
            if old.is_file():
                return old
            return None
        increments = sorted(_INCREMENT.findall(manifest), key=lambda found: int(found[1]))
        if not increments:
            return None
        # only the name: a damaged manifest must not lead elsewhere
        return self._folder / _FOLDER / Path(increments[-1][0]).name
