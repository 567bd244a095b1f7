"""Reads the card of a site's code in a process of its own, and keeps it until a file changes.

No worker imports code of the site: it would run in a process with secrets, and stay there.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

from slidelane.algorithms import Card, Class, Parameter
from worker.algorithms.python.host_process import environment

LIMIT_S: Final = 120.0
_MOST_FILES: Final = 500
Fingerprint = tuple[tuple[str, int, int], ...]
"""Of each Python file beside the entry's: name, size in bytes, time of its last change in ns."""


class EntryRefusedError(Exception):
    """The entry cannot be used. The message says why."""


@dataclass(frozen=True, slots=True)
class Description:
    """What an entry names. `files` are those that its digest covers."""

    card: Card
    has_card: bool
    is_tile_model: bool
    threads: int
    digest: str
    files: tuple[str, ...]


def describe(entry: str) -> Description:
    """Return what the entry names. Raises EntryRefusedError."""
    return _described(entry, fingerprint(entry))


def fingerprint(entry: str) -> Fingerprint:
    """Return what changes with every change of the entry's file or of the ones beside it."""
    file = source_file(entry)
    if file is None:
        return ()
    found = []
    with suppress(OSError):
        for path in sorted(file.parent.glob("*.py"))[:_MOST_FILES]:
            status = path.stat()
            found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)


def source_file(entry: str) -> Path | None:
    """Return the file that an entry names, without importing anything."""
    place = entry.rpartition(":")[0]
    if place.endswith(".py"):
        return Path(place)
    package, *rest = place.split(".")
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest and spec.origin:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        return Path(folder, *rest).with_suffix(".py")
    return None


@lru_cache(maxsize=64)
def _described(entry: str, _fingerprint: Fingerprint) -> Description:
    command = [
        sys.executable,
        "-m",
        "worker.algorithms.python.host.describe",
        entry,
        str(os.getpid()),
    ]
    with TemporaryFile() as answer:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(1),
        )
        try:
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise EntryRefusedError(f"it was not imported within {LIMIT_S:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0)
        return _from_json(answer.read(), status)


def _from_json(answer: bytes, status: int) -> Description:
    try:
        fields = json.loads(answer.rpartition(b"\n")[2])
        if "refused" in fields:
            raise EntryRefusedError(str(fields["refused"]))
        return Description(
            card=card_from(fields["card"]),
            has_card=bool(fields["has_card"]),
            is_tile_model=bool(fields["is_tile_model"]),
            threads=int(fields["threads"]),
            digest=str(fields["digest"]),
            files=tuple(fields["files"]),
        )
    except (ValueError, KeyError, TypeError):
        raise EntryRefusedError(f"its process ended with {status} while it was imported") from None


def card_from(fields: dict[str, Any]) -> Card:
    """Return the card of fields that `dataclasses.asdict` made."""
    classes = tuple(Class(**entry) for entry in fields["classes"])
    parameters = tuple(
        Parameter(**{**entry, "choices": tuple(entry["choices"])}) for entry in fields["parameters"]
    )
    lists = {name: tuple(fields[name]) for name in ("stains", "measurements")}
    return Card(**{**fields, **lists, "classes": classes, "parameters": parameters})
