"""Named destinations: the address and the credentials of each are in the settings, once.

An order names one and adds what it lacks, such as the case. It cannot change what is here: another
address would get the credentials.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, get_args

from pydantic import AfterValidator, Field, SecretStr, ValidationError

from broker.orders.destinations import WebhookDestination
from broker.orders.fields import RequestModel
from broker.orders.request import Destination

ADDRESS_FIELDS: Final = ("host", "base_url", "url")
_FURTHER_ADDRESSES: Final = ("confirm_url",)


def _kinds() -> dict[str, type[RequestModel]]:
    """Return the model of each type of destination that has an address."""
    kinds = {}
    for model in get_args(get_args(Destination)[0]):
        if not set(ADDRESS_FIELDS).isdisjoint(model.model_fields):
            kinds[get_args(model.model_fields["type"].annotation)[0]] = model
    return kinds


def fields_of_type(kind: str) -> frozenset[str]:
    """Return the fields that a destination of this type has, none for a type without an address."""
    model = _kinds().get(kind)
    if model is None:
        return frozenset()
    return frozenset(model.model_fields)


def checked(given: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """Return the fields of one destination. Raise `ValueError`, which repeats no value."""
    fields = revealed(given)
    kinds = _kinds()
    model = kinds.get(fields.get("type", ""))
    if model is None:
        raise ValueError(f"type must be one of {', '.join(sorted(kinds))}")
    addresses = [name for name in ADDRESS_FIELDS if name in model.model_fields]
    if len([name for name in addresses if name in fields]) != 1:
        raise ValueError(f"give its address: {' or '.join(addresses)}")
    if "name" in fields:
        raise ValueError("name: its key is its name; remove the field")
    try:
        model.model_validate(fields)
    except ValidationError as error:
        _refuse_wrong_fields(error)
    return given


def _refuse_wrong_fields(error: ValidationError) -> None:
    """Raise `ValueError` for the first field that is wrong. Orders may add those that are missing.

    A fault without a field is that of a combination, which is complete only in an order.
    """
    for fault in error.errors(include_url=False, include_input=False):
        if fault["type"] == "missing" or not fault["loc"]:
            continue
        field = str(fault["loc"][0])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "a destination of this type has no such field"
        elif field.endswith("url"):
            # the message of the URL parser may quote a part of the URL
            message = "this is not an http or https URL with a host"
        raise ValueError(f"{field}: {message}") from None


NamedDestinations = dict[
    Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")],
    Annotated[dict[str, SecretStr], AfterValidator(checked)],
]
"""By name the fields of a destination, as in an order, without those that orders add."""


def is_webhook(given: Mapping[str, SecretStr] | None) -> bool:
    """Return whether these are all fields of a webhook, so that it can be called as it stands."""
    if given is None:
        return False
    try:
        WebhookDestination.model_validate(revealed(given))
    except ValidationError:
        return False
    return True


def needed_fields(given: Mapping[str, SecretStr]) -> tuple[str, ...]:
    """Return the fields that every order adds to this destination, such as `case_id`."""
    fields = _kinds()[given["type"].get_secret_value()].model_fields
    needed = [name for name, field in fields.items() if field.is_required() and name not in given]
    has_key = "api_key_id" in given and "api_key_secret" in given
    if "jwt_token" in fields and "jwt_token" not in given and not has_key:
        needed.append("jwt_token")
    return tuple(needed)


def revealed(fields: Mapping[str, SecretStr]) -> dict[str, Any]:
    """Return the fields of a destination in clear."""
    return {name: value.get_secret_value() for name, value in fields.items()}


def destination_addresses(
    destinations: Mapping[str, Mapping[str, SecretStr]],
) -> Iterator[tuple[str, str]]:
    """Yield the address of each destination in clear, with its key before it."""
    for name, fields in destinations.items():
        for field in (*ADDRESS_FIELDS, *_FURTHER_ADDRESSES):
            if field in fields:
                yield f"services.destinations.{name}.{field}", fields[field].get_secret_value()
