"""What can be known to be wrong with an order before any work: algorithm, parameters, addresses, paths, expiry."""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

from broker.card import Card
from broker.config import Config
from broker.errors import OrderError, Problem, TemporaryError
from broker.hosts import check_literal
from broker.request import AnnotationDestination, Destination, OrderRequest, PathSource, TechcyteDestination, UrlSource
from services.problems import ManyFaultsError
from services.validation import MAX_FAULTS, field_path

LONGEST_LIFE = timedelta(days=3653)


def admit(request: OrderRequest, cards: Mapping[str, Card], config: Config) -> tuple[OrderRequest, Card]:
    """The order with its parameters filled in, and its algorithm's card. Raises `OrderError` or `TemporaryError`."""
    card = _card(request.algorithm, cards)
    parameters = _parameters(request.parameters, card)
    for field, address in _addresses(request):
        check_literal(address, config.broker.allow_hosts, field)
    for index, scan in enumerate(request.scans):
        if isinstance(scan.source, PathSource):
            _check_path(scan.source.path, config.worker.slides.roots, f"scans[{index}].source.path")
    if request.expires_at:
        _check_expiry(request.expires_at)
    return request.model_copy(update={"parameters": parameters}), card


def _card(name: str, cards: Mapping[str, Card]) -> Card:
    if not cards:
        raise TemporaryError(
            "algorithms_not_announced",
            "no worker has said yet what can be ordered",
            hint="start a worker",
            retry_after_s=5,
        )
    if name not in cards:
        known = ", ".join(sorted(cards))
        raise OrderError(
            "algorithm_unknown", f"there is no algorithm {name!r}", hint=f"there are: {known}", field="algorithm"
        )
    return cards[name]


def _parameters(given: Mapping[str, Any], card: Card) -> dict[str, Any]:
    known = card.parameters.get("properties", {})
    filled = {name: schema["default"] for name, schema in known.items() if "default" in schema} | dict(given)
    for name, value in filled.items():
        if known.get(name, {}).get("type") == "integer" and isinstance(value, float) and value.is_integer():
            filled[name] = int(value)  # JSON Schema calls 2.0 an integer; the algorithm would not
    # An empty registry: a `$ref` to elsewhere must not make the desk fetch it.
    checks = Draft202012Validator(card.parameters, registry=Registry())
    faults = [_parameter_fault(error) for error in islice(checks.iter_errors(filled), MAX_FAULTS)]
    if faults:
        raise ManyFaultsError(faults)
    return filled


def _parameter_fault(error: ValidationError) -> Problem:
    path = ["parameters", *error.absolute_path]
    if error.validator == "additionalProperties":
        path += sorted(set(error.instance) - set(error.schema.get("properties", {})))[:1]
    elif error.validator == "required":
        path += [name for name in error.validator_value if name not in error.instance][:1]
    field = field_path(path)
    return Problem(
        "parameters_invalid", f"{field}: {error.message[:300]}", "GET /v1/algorithms shows the schema", field, "input"
    )


def _addresses(request: OrderRequest) -> Iterator[tuple[str, str]]:
    for index, scan in enumerate(request.scans):
        if isinstance(scan.source, UrlSource):
            yield f"scans[{index}].source.url", scan.source.url.get_secret_value()
    yield from _destination_addresses(request.destination)


def _destination_addresses(destination: Destination) -> Iterator[tuple[str, str]]:
    if isinstance(destination, AnnotationDestination):
        yield "destination.url", destination.url.get_secret_value()
    elif isinstance(destination, TechcyteDestination):
        if destination.host:
            yield "destination.host", destination.host
        if destination.base_url:
            yield "destination.base_url", destination.base_url.get_secret_value()


def _check_path(path: str, roots: Sequence[Path], field: str) -> None:
    # By its letters alone: whether it exists is the bench's to see, and must not be found out from here.
    normal = Path(os.path.normpath(path))
    if not any(normal.is_relative_to(os.path.normpath(root.absolute())) for root in roots):
        raise OrderError(
            "path_not_allowed", f"{field}: {path[:200]!r} lies outside worker.slides.roots",
            hint="give an absolute path below one of these folders, or have its folder added", field=field,
        )  # fmt: skip


def _check_expiry(when: datetime) -> None:
    now = datetime.now(UTC)
    if not now < when < now + LONGEST_LIFE:
        late = "lies in the past" if when <= now else "lies more than ten years ahead"
        raise OrderError(
            "request_invalid",
            f"expires_at: {when.isoformat()} {late}",
            hint="leave it out, or give a moment to come",
            field="expires_at",
        )
