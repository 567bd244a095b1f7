"""Refuses orders that can be known to be wrong before any work.

Checks algorithm, parameters, addresses, paths, regions and expiry.
"""

import os
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

from broker.allowed_hosts import check_destination, check_literal
from broker.errors import OrderError, Problem, TemporaryError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.destinations import (
    AnnotationDestination,
    CaMicroscopeDestination,
    WebhookDestination,
)
from broker.orders.fields import PRIORITIES, Priority
from broker.orders.presigned_url import url_expires_at
from broker.orders.request import Destination, OrderRequest, TechcyteDestination
from broker.orders.source import CaseSource, PathSource, Source
from broker.settings.config import Config
from services.requests.order_validation import MAX_FAULTS, field_path
from services.requests.region_check import check_region
from services.requests.roi_limits import check_roi_limits
from services.responses.problems import ManyFaultsError

MAX_ORDER_LIFE = timedelta(days=3653)
MAX_SHOWN_ROOTS = 8
MAX_CLOCK_SKEW_S = 5.0
"""How far this machine's clock may be ahead of the clock that signed a URL."""


def admit(
    request: OrderRequest, cards: Mapping[str, AlgorithmCard], config: Config
) -> tuple[OrderRequest, AlgorithmCard]:
    """Return the order with its parameters filled in, and the card of its algorithm.

    Raise `OrderError`, or `TemporaryError` while no worker has announced an algorithm.
    """
    card = _card(request.algorithm, cards)
    parameters = _parameters(request.parameters, card)
    _check_case(request, card)
    for index, scan in enumerate(request.scans):
        check_source(scan.source, f"scans[{index}].source", config)
        check_region(scan.roi, f"scans[{index}].roi")
    check_roi_limits(request)
    check_destination_hosts(request.resolved_destination, config.broker.allow_hosts)
    if isinstance(request.notify, WebhookDestination):
        address = request.notify.url.get_secret_value()
        check_destination(address, config.broker.allow_hosts, "notify.url")
    if request.expires_at:
        _check_expiry(request.expires_at, request.delay_s or 0)
    return request.model_copy(update={"parameters": parameters}), card


def check_destination_hosts(destination: Destination, allow_hosts: Sequence[str]) -> None:
    """Raise `OrderError` for a destination that results must not be sent to."""
    for field, address in _destination_addresses(destination):
        check_destination(address, allow_hosts, field)


def check_priority(priority: Priority, name: str, highest: Priority) -> None:
    """Raise `OrderError` for a priority above the highest that the key `name` may order."""
    if PRIORITIES.index(priority) <= PRIORITIES.index(highest):
        return
    raise OrderError(
        "key_refused",
        f"priority: the key {name!r} may order {highest!r} at most, not {priority!r}",
        hint="order a lower priority; max_priority of the key is the limit",
        field="priority",
    )


def _card(name: str, cards: Mapping[str, AlgorithmCard]) -> AlgorithmCard:
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
            "algorithm_unknown",
            f"there is no algorithm {name!r}",
            hint=f"there are: {known}",
            field="algorithm",
        )
    return cards[name]


def _parameters(given: Mapping[str, Any], card: AlgorithmCard) -> dict[str, Any]:
    """Return the parameters with defaults filled in. Raise `ManyFaultsError`."""
    filled = card.with_defaults(given)
    # An empty registry: a `$ref` to another place must not make the API fetch it.
    validator = Draft202012Validator(card.parameters, registry=Registry())
    errors = islice(validator.iter_errors(filled), MAX_FAULTS)
    faults = [_parameter_fault(error) for error in errors]
    if faults:
        raise ManyFaultsError(faults)
    return filled


def _parameter_fault(error: ValidationError) -> Problem:
    path = ["parameters", *error.absolute_path]
    wrong = error.message[:300]
    if error.validator == "additionalProperties":
        wrong = "there is no such parameter"
        path += sorted(set(error.instance) - set(error.schema.get("properties", {})))[:1]
    elif error.validator == "required":
        path += [name for name in error.validator_value if name not in error.instance][:1]
    field = field_path(path)
    return Problem(
        "parameters_invalid",
        f"{field}: {wrong}",
        "GET /v1/algorithms shows the schema",
        field,
    )


def _check_case(request: OrderRequest, card: AlgorithmCard) -> None:
    """Raise `OrderError` where a case would be judged by a part of its scans."""
    if card.scope == "case" and request.on_scan_failure == "deliver_rest":
        raise OrderError(
            "request_invalid",
            f"on_scan_failure: {card.name} gives one answer for all scans of an order, and what "
            "is missing from it cannot be seen in the answer",
            hint="leave it out, or send fail: after a failed scan the order can be tried again",
            field="on_scan_failure",
        )


def check_source(source: Source, field: str, config: Config) -> None:
    """Raise `OrderError` for a source that can be known not to be read.

    `field`: where it stands in the request.
    """
    for name, address in source.addresses:
        check_literal(address, config.broker.allow_hosts, f"{field}.{name}")
        _check_not_expired(address, f"{field}.{name}")
    if isinstance(source, PathSource):
        _check_path(source.path, config.worker.slides.roots, f"{field}.path")
    elif isinstance(source, CaseSource) and config.worker.locator is None:
        raise OrderError(
            "request_invalid",
            f"{field}.type: this site has no locator that could say where a case is",
            hint="give the slide's address, or have worker.locator configured",
            field=f"{field}.type",
        )


def _check_not_expired(url: str, field: str) -> None:
    expires_at = url_expires_at(url)
    if expires_at is None or expires_at >= time.time() - MAX_CLOCK_SKEW_S:
        return
    when = datetime.fromtimestamp(expires_at, UTC).isoformat(timespec="seconds")
    raise OrderError(
        "input_expired",
        f"{field}: the URL expired at {when}",
        hint="order again with a fresh URL",
        field=field,
    )


def _destination_addresses(destination: Destination) -> Iterator[tuple[str, str]]:
    """Yield the field and the value of each address that the results would be sent to."""
    if isinstance(
        destination, AnnotationDestination | CaMicroscopeDestination | WebhookDestination
    ):
        yield "destination.url", destination.url.get_secret_value()
        if isinstance(destination, AnnotationDestination) and destination.confirm_url:
            yield "destination.confirm_url", destination.confirm_url.get_secret_value()
    elif isinstance(destination, TechcyteDestination):
        if destination.host:
            yield "destination.host", destination.host
        if destination.base_url:
            yield "destination.base_url", destination.base_url.get_secret_value()
        if destination.debug_file_upload_url:
            url = destination.debug_file_upload_url.get_secret_value()
            yield "destination.debug_file_upload_url", url


def _check_path(path: str, roots: Sequence[Path], field: str) -> None:
    # Only the text is compared: the worker sees whether the file exists, and a caller must not
    # learn from an answer of the API which files there are.
    # Two ways to write the same letters in Unicode are the same folder, as for the worker.
    normal = Path(unicodedata.normalize("NFC", os.path.normpath(path)))
    for root in roots:
        folder = unicodedata.normalize("NFC", os.path.normpath(root.absolute()))
        if normal.is_relative_to(folder):
            return
    raise OrderError(
        "path_not_allowed",
        f"{field}: {path[:200]!r} lies outside worker.slides.roots",
        hint=_allowed_folders(roots),
        field=field,
    )


def _allowed_folders(roots: Sequence[Path]) -> str:
    """Return what to do, with the folders that paths may lie in. Whoever may order may know."""
    if not roots:
        return "no folder is allowed yet: have worker.slides.roots name one"
    shown = ", ".join(str(root.absolute()) for root in roots[:MAX_SHOWN_ROOTS])
    more = len(roots) - MAX_SHOWN_ROOTS
    if more > 0:
        shown += f" and {more} more"
    return f"give an absolute path below {shown}, or have its folder added"


def _check_expiry(when: datetime, delay_s: float) -> None:
    now = datetime.now(UTC)
    begin = now + timedelta(seconds=delay_s)
    if begin < when < now + MAX_ORDER_LIFE:
        return
    problem = "lies more than ten years ahead"
    if when <= now:
        problem = "lies in the past"
    elif when <= begin:
        problem = f"is before the order may begin, {delay_s:g} s from now"
    raise OrderError(
        "request_invalid",
        f"expires_at: {when.isoformat()} {problem}",
        hint="leave it out, or give a moment to come",
        field="expires_at",
    )
