"""Loads networks that torch.export wrote (`.pt2`) without unpickling anything but tensors.

`torch.export.load` unpickles a network's sample inputs in full where its safe way of unpickling
refuses them, and some records of an archive without trying the safe way first. Unpickling in full
runs whatever code the file names. So do some texts in its graph, which `exported_graph` checks.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import Any, Final
from zipfile import ZipFile

import torch
from torch.export.pt2_archive import PT2ArchiveReader

from worker.algorithms.networks.exported_graph import check_graph

# torch.load reads it at each call; it overrules `weights_only=False` of the caller.
_WEIGHTS_ONLY: Final = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_MOST_GRAPH_BYTES: Final = 2**28
_environment_lock: Final = Lock()
# Parts of the names of records that hold code, and what they hold. Names are compared in lower
# case, because torch finds records whatever their case is.
_RECORDS_WITH_CODE: Final = {
    "opaque_obj": "pickled Python objects",
    "custom_obj": "pickled TorchScript objects",
    "aotinductor": "compiled machine code",
}


def load(file: Path) -> torch.nn.Module:
    """Return the network in the file.

    Raises ValueError for an archive whose records could run code when they are loaded, and what
    `torch.export.load` raises for one that cannot be loaded.
    """
    _check_records(file)
    for document in _graphs(file):
        check_graph(document)
    try:
        with _weights_only():
            program: Any = torch.export.load(file)
    except UnpicklingError:
        raise ValueError(
            "its sample inputs, weights or constants are pickled objects that could run code; "
            "export it again with tensors only"
        ) from None
    module: torch.nn.Module = program.module()
    return module


def _check_records(file: Path) -> None:
    for name in _record_names(file):
        for part, content in _RECORDS_WITH_CODE.items():
            if part in name.lower():
                raise ValueError(
                    f"its record {name[:100]!r} holds {content}; "
                    "export it again as a graph with tensors only"
                )


def _record_names(file: Path) -> list[str]:
    """Return the names of the archive's records as torch reads them.

    Empty for the format of torch 2.7 and older, whose pickles `torch.load` reads all.
    """
    try:
        with PT2ArchiveReader(str(file)) as archive:
            names: list[str] = archive.get_file_names()
    except RuntimeError:
        return []
    return names


def _graphs(file: Path) -> list[bytes]:
    """Return the archive's JSON records, of which the graph is one, as torch reads them."""
    try:
        with PT2ArchiveReader(str(file)) as archive:
            names = [name for name in archive.get_file_names() if _is_json(name)]
            return [_limited(archive.read_bytes(name)) for name in names]
    except RuntimeError:
        # The format of torch 2.7 and older, which torch reads with zipfile.
        with ZipFile(file) as older:
            members = [member for member in older.infolist() if _is_json(member.filename)]
            if sum(member.file_size for member in members) > _MOST_GRAPH_BYTES:
                raise _too_large() from None
            return [older.read(member) for member in members]


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _limited(document: bytes) -> bytes:
    if len(document) > _MOST_GRAPH_BYTES:
        raise _too_large()
    return document


def _too_large() -> ValueError:
    return ValueError(f"its graph is larger than {_MOST_GRAPH_BYTES} bytes")


@contextmanager
def _weights_only() -> Iterator[None]:
    """Make every `torch.load` of this process refuse what is more than tensors."""
    with _environment_lock:
        before = os.environ.get(_WEIGHTS_ONLY)
        os.environ[_WEIGHTS_ONLY] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[_WEIGHTS_ONLY]
            else:
                os.environ[_WEIGHTS_ONLY] = before
