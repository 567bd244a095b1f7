"""Looks up the destination that an order names in `services.destinations`."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from broker.errors import OrderError, Problem
from broker.orders.destinations import AddressedDestination, WebhookDestination
from broker.orders.named_destination import NamedDestination
from broker.orders.request import Destination, GivenDestination, GivenWebhook
from broker.settings.services.destinations import ADDRESS_FIELDS, fields_of_type, revealed
from broker.settings.services.policies import OrderChoice
from services.requests.order_validation import HINTS, whole_destination_of
from services.responses.problems import ManyFaultsError


def resolve(
    given: GivenDestination, destinations: Mapping[str, Mapping[str, SecretStr]]
) -> Destination:
    """Return the destination that is given whole, or the named one with what the order adds.

    Raise `OrderError` for an unknown name, and for fields that are missing, wrong, or already in
    the settings.
    """
    if isinstance(given, str):
        given = NamedDestination(name=given)
    if not isinstance(given, NamedDestination):
        return given
    known = destinations.get(given.name)
    if known is None:
        raise _unknown(given.name, destinations)
    settings = revealed(known)
    _refuse_fields_of_settings(given, settings)
    try:
        destination = whole_destination_of(settings | given.fields)
    except ManyFaultsError as error:
        raise ManyFaultsError([_with_remedy(fault, given.name) for fault in error.faults]) from None
    if isinstance(destination, AddressedDestination):
        return destination.model_copy(update={"name": given.name})
    return destination


def completed(
    choice: OrderChoice,
    destinations: Mapping[str, Mapping[str, SecretStr]],
    added: Mapping[str, str],
) -> dict[str, Any]:
    """Return the destination of the settings, with what its type takes and they do not say."""
    given = choice.destination_fields
    known = dict(given)
    if choice.destination_name is not None:
        known |= revealed(destinations[choice.destination_name])
    takes = fields_of_type(str(known.get("type", "")))
    return given | {
        name: value for name, value in added.items() if name in takes and name not in known
    }


def resolve_webhook(
    given: GivenWebhook, destinations: Mapping[str, Mapping[str, SecretStr]]
) -> WebhookDestination:
    """Return the webhook of `notify`, as `resolve` does. Raise `OrderError` for another type."""
    try:
        found = resolve(given, destinations)
    except ManyFaultsError as error:
        raise ManyFaultsError([_of_notify(fault) for fault in error.faults]) from None
    except OrderError as error:
        fault = _of_notify(error.problem)
        raise OrderError(fault.code, fault.detail, hint=fault.hint, field=fault.field) from None
    if isinstance(found, WebhookDestination):
        return found
    raise OrderError(
        "request_invalid",
        f"notify: only a webhook is told how an order ends, and this is of type {found.type!r}",
        hint="name a destination of type webhook",
        field="notify",
    )


def _of_notify(fault: Problem) -> Problem:
    """Return a fault of a destination as one of `notify`."""
    detail = fault.detail.replace("destination", "notify", 1)
    return replace(fault, detail=detail, field=fault.field.replace("destination", "notify", 1))


def _with_remedy(fault: Problem, name: str) -> Problem:
    """Return the fault; where a field is missing, with how it is given beside the name."""
    if fault.hint != HINTS["missing"]:
        return fault
    field = fault.field.removeprefix("destination.")
    return replace(fault, hint=f'send {{"name": "{name}", "{field}": …}}')


def _unknown(name: str, destinations: Mapping[str, Any]) -> OrderError:
    # What is no name may be a token in the wrong place: it is not repeated.
    shown = "of this name"
    if re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name):
        shown = repr(name)
    hint = "services.destinations names none; have one added, or give it in full"
    if destinations:
        hint = f"there are: {', '.join(sorted(destinations))}"
    return OrderError(
        "request_invalid",
        f"destination: there is no destination {shown}",
        hint=hint,
        field="destination",
    )


def _refuse_fields_of_settings(given: NamedDestination, settings: Mapping[str, Any]) -> None:
    """Raise `ManyFaultsError` where the order would change what the settings say."""
    fixed = {"type", *ADDRESS_FIELDS, *settings}
    faults = []
    for field in sorted(fixed & set(given.fields)):
        path = f"destination.{field}"
        text = f"{path}: the settings of the destination {given.name!r} decide it"
        faults.append(Problem("request_invalid", text, "remove it", path))
    if faults:
        raise ManyFaultsError(faults)
