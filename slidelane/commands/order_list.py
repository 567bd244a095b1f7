"""What `slidelane order` is given, as orders: paths, URLs, folders of slides, and CSV tables."""

import argparse
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from broker.orders.fields import without_query
from broker.orders.request import OrderRequest
from slidelane.commands.region import region

_SUFFIXES: Final = (
    *(".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu", ".svslide"),
    *(".png", ".jpg", ".jpeg", ".jp2", ".webp", ".bmp"),
)
_DICOM: Final = ".dcm"
_COLUMNS: Final = ("path", "url", "algorithm", "roi", "mpp", "stain", "to")
_LABEL: Final = "label."
_DESTINATION_FIELD: Final = "to."
"""Before the name of a field that the named destination lacks, such as `case_id`."""
_MOST_BYTES: Final = 50 * 2**20
_MOST_ROWS: Final = 100_000


class TableError(Exception):
    """A table or folder cannot be used as a whole; the message says why."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task of Techcyte as JSON, and the name of the webhook that it is for, if one is named."""

    content: bytes = field(repr=False)
    webhook: str | None


@dataclass(frozen=True, slots=True)
class Given:
    """What to order: where it was named, the order or task, and why it is none where it is none."""

    title: str
    order: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is ordered of a slide unless its row says otherwise.

    A `template` takes the place of the algorithm.
    """

    algorithm: str
    parameters: Mapping[str, Any]
    roi: Any = None
    mpp: float | None = None
    stain: str | None = None
    to: str | None = None
    destination_fields: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None

    @property
    def destination(self) -> str | dict[str, str] | None:
        """The destination as an order gives it, or None where the results are only kept.

        Raise `ValueError` for fields without a destination.
        """
        if self.to is None and self.destination_fields:
            name = sorted(self.destination_fields)[0]
            raise ValueError(f"to.{name}: name a destination in the column to, or with --to")
        if self.to is None or not self.destination_fields:
            return self.to
        return {"name": self.to, **self.destination_fields}


def orders_of(what: Sequence[str], defaults: Defaults) -> Iterator[Given]:
    """Yield one order for each slide. Raise `TableError`."""
    for text in what:
        if "://" in text:
            yield _given(shown(text), {"url": text}, defaults)
            continue
        path = Path(text)
        if path.is_dir():
            for slide in _slides_in(path):
                yield _given(str(slide), {"path": str(slide)}, defaults)
        elif path.suffix.lower() == ".csv":
            yield from _rows(path, defaults)
        else:
            yield _given(text, {"path": text}, defaults)


def shown(source: str) -> str:
    """Return a path or URL as it may be shown: a URL without its query."""
    if "://" not in source:
        return source
    try:
        return without_query(source)
    except ValueError:
        return "a URL"


def _slides_in(folder: Path) -> list[Path]:
    """Return the slides directly in a folder; the DICOM files of a folder are one slide."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise TableError(f"{folder} cannot be read ({error.strerror})") from None
    slides = [path for path in files if path.suffix.lower() in _SUFFIXES]
    slides += [path for path in files if path.suffix.lower() == _DICOM][:1]
    if not slides:
        raise TableError(f"{folder} holds no slides; folders within it are not looked into")
    return slides


def _rows(path: Path, defaults: Defaults) -> Iterator[Given]:
    """Yield an order for each row. Raise `TableError` for a table without usable columns."""
    text = _text(path)
    first = text.partition("\n")[0]
    delimiter = ","
    if ";" in first and "," not in first:
        delimiter = ";"
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        _check_columns(path, reader.fieldnames or ())
        for number, row in enumerate(reader):
            if number >= _MOST_ROWS:
                raise TableError(f"{path} has more than {_MOST_ROWS:,} rows")
            yield _of_row(f"{path.name} line {reader.line_num}", row, path.parent, defaults)
    except csv.Error as error:
        raise TableError(f"{path} line {reader.line_num}: {error}") from None


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise TableError(f"{path} is larger than {_MOST_BYTES:,} bytes")
        # Excel begins such a file with a byte order mark.
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise TableError(f"{path} is not UTF-8; save it as `CSV UTF-8`") from None


def _check_columns(path: Path, names: Sequence[str]) -> None:
    free = (_LABEL, _DESTINATION_FIELD)
    unknown = [name for name in names if name not in _COLUMNS and not name.startswith(free)]
    known = f"{', '.join(_COLUMNS)}, {_DESTINATION_FIELD}FIELD and {_LABEL}NAME"
    if unknown:
        raise TableError(f"{path}: there is no column {unknown[0][:64]!r}; there are {known}")
    if "path" not in names and "url" not in names:
        raise TableError(f"{path}: the first line names no column path or url; there are {known}")
    if len(set(names)) < len(names):
        raise TableError(f"{path}: two columns have the same name")


def _of_row(title: str, row: dict[Any, Any], folder: Path, defaults: Defaults) -> Given:
    values = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    if None in row or None in row.values():
        return Given(title, fault="it has another number of cells than the first line")
    path = values.get("path", "")
    url = values.get("url", "")
    if bool(path) == bool(url):
        return Given(title, fault="give either path or url")
    source = {"url": url}
    if path:
        source = {"path": str(folder / path)}
    try:
        own = Defaults(
            algorithm=values.get("algorithm") or defaults.algorithm,
            parameters=defaults.parameters,
            roi=_roi(values.get("roi", "")) or defaults.roi,
            mpp=_mpp(values.get("mpp", "")) or defaults.mpp,
            stain=values.get("stain") or defaults.stain,
            to=values.get("to") or defaults.to,
            destination_fields=_with_prefix(_DESTINATION_FIELD, values),
            template=defaults.template,
        )
    except (argparse.ArgumentTypeError, ValueError) as error:
        return Given(title, fault=str(error))
    labels = _with_prefix(_LABEL, values)
    return _given(f"{title}, {shown(path or url)}", source, own, labels)


def _with_prefix(prefix: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the cells that hold something, of the columns with a prefix, by the rest of it."""
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix) and value
    }


def _roi(text: str) -> Any:
    if not text:
        return None
    return region(text)


def _mpp(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"mpp: {text[:32]!r} is no number") from None


def _given(
    title: str,
    place: Mapping[str, str],
    defaults: Defaults,
    labels: Mapping[str, str] | None = None,
) -> Given:
    """Return the order of one slide, or why it can be none."""
    scan = {
        "id": "1",
        "source": _source(place),
        "roi": defaults.roi,
        "mpp": defaults.mpp,
        "stain": defaults.stain,
    }
    order: dict[str, Any] = {
        "algorithm": defaults.algorithm,
        "parameters": dict(defaults.parameters),
        "scans": (scan,),
        "labels": dict(labels or {}),
    }
    try:
        destination = defaults.destination
    except ValueError as error:
        return Given(title, fault=str(error))
    if destination is not None:
        order["destination"] = destination
    try:
        request = OrderRequest.model_validate(order)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place_of_fault = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        message = str(first["msg"]).removeprefix("Value error, ")
        return Given(title, fault=f"{place_of_fault}: {message}")
    document = _document(request)
    if defaults.template is not None:
        document["template"] = defaults.template
        for name in ("algorithm", "priority", "on_scan_failure"):
            del document[name]
        # what was not given is what the template says
        for name in ("parameters", "labels", "destination"):
            if name not in order or not order[name]:
                document.pop(name, None)
    return Given(title, order=document)


def _source(place: Mapping[str, str]) -> dict[str, str]:
    if "path" in place:
        # As the shell that runs the command sees it; the service reads the same file.
        return {"type": "path", "path": str(Path(place["path"]).absolute())}
    url = place["url"]
    if re.search(r"\.zip$", _path_of(url), re.IGNORECASE):
        return {"type": "url", "zip_url": url}
    return {"type": "url", "url": url}


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _document(request: OrderRequest) -> dict[str, Any]:
    """Return the order as JSON for the API, with its URLs in clear."""
    document: dict[str, Any] = json.loads(request.whole())
    return document
