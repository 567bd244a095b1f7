"""The folder of a scan for a site's code, and the files of it that become results."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, SecretStr

from broker.orders.result_files import OUTPUT_LOG, OWN_FILES, POSTED
from broker.secret_forms import masked, secrets_of_url
from worker.inference.code_result import CodeResult
from worker.inference.scan_context import ScanContext
from worker.results.object_store import ObjectStore

_PREFIX: Final = "slidelane-python-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder for one scan; it is removed afterwards.

    Folders that killed workers left behind are removed first.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def secrets_of(model: BaseModel) -> set[str]:
    """Return every secret that a request holds, also those within its URLs."""
    secrets: set[str] = set()
    for name in type(model).model_fields:
        value = getattr(model, name)
        values = [value]
        if isinstance(value, list | tuple):
            values = list(value)
        for one in values:
            if isinstance(one, BaseModel):
                secrets |= secrets_of(one)
            elif isinstance(one, SecretStr):
                text = one.get_secret_value()
                secrets.add(text)
                secrets.update(secrets_of_url(text))
    return secrets


def with_files(
    found: CodeResult, context: ScanContext, log: Path, secrets: Iterable[str]
) -> CodeResult:
    """Return the result with its files beside the objects, where they outlive the scan's folder.

    These are the code's own files and what it printed, without the secrets of the order.
    """
    objects = found.findings.objects
    if not isinstance(objects, ObjectStore):
        raise TypeError("the objects of a scan are in a store")
    kept = objects.folder.parent / OWN_FILES
    kept.mkdir(exist_ok=True)
    files = {}
    for name, file in found.files.items():
        shutil.move(file, kept / name)
        files[f"{OWN_FILES}/{name}"] = kept / name
    if log.exists() and log.stat().st_size:
        printed = log.read_text("utf-8", "replace")
        files[OUTPUT_LOG] = kept / f".{OUTPUT_LOG}"
        files[OUTPUT_LOG].write_text(masked(printed, secrets), "utf-8")
    if found.posted is not None:
        files[POSTED] = kept / f".{POSTED}"
        shutil.move(found.posted, files[POSTED])
    warnings = (*found.warnings, *context.warnings)
    return replace(found, files=files, warnings=warnings, posted=None)
