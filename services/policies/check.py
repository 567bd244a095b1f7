"""Says of each policy and template whether orders of it could be placed now."""

import logging
from collections.abc import Iterator, Mapping
from threading import Event
from typing import Any, Final

from broker.errors import SlidelaneError, TemporaryError
from broker.order_store import OrderStore
from broker.settings.config import Config
from services.policies.choice import by_policy, filled
from services.requests.admission import admit
from services.requests.named_destinations import resolve
from services.requests.order_validation import order_of
from services.requests.placement import Orderable

_TICK_S: Final = 2.0
_SCAN: Final[Mapping[str, Any]] = {
    "id": "1",
    "source": {"type": "url", "url": "https://slides.example.org/a.svs"},
    "roi": {"x": 0, "y": 0, "width": 1, "height": 1},
}
_log = logging.getLogger(__name__)


def faults(config: Config, orderable: Orderable) -> Iterator[tuple[str, str]]:
    """Yield the key of each policy and template whose orders would be refused, and why."""
    document: dict[str, Any] = {"scans": [dict(_SCAN)], "labels": {"case": "1"}}
    for policy in config.services.policies:
        fault = _fault(by_policy(document, policy, config.services), config, orderable)
        if fault:
            yield f"services.policies[{policy.name}]", fault
    for name, template in config.services.templates.items():
        scans: dict[str, Any] = {"scans": [dict(_SCAN)]}
        if "labels" in template.allow and "case" not in template.labels:
            scans = dict(document)
        order = filled({"template": name, **scans}, config.services)
        fault = _fault(order, config, orderable)
        if fault:
            yield f"services.templates.{name}", fault


def _fault(document: Any, config: Config, orderable: Orderable) -> str:
    """Return why an order would be refused, '' where it would not."""
    try:
        request = order_of(document)
        destination = resolve(request.destination, config.services.destinations)
        admit(request.model_copy(update={"destination": destination}), orderable.cards, config)
    except SlidelaneError as error:
        return f"{error.code}: {error.detail}"
    return ""


def warn_of_faults(config: Config, store: OrderStore, stopped: Event) -> None:
    """Log each policy and template that could not be ordered by, once workers are there."""
    while not stopped.wait(_TICK_S):
        try:
            orderable = Orderable.of(store)
        except TemporaryError:
            continue
        if orderable.cards:
            for key, fault in faults(config, orderable):
                _log.warning("%s: %s", key, fault)
            return
