"""Fills in what an order leaves to the settings: the algorithm of a policy, or a template."""

from collections.abc import Mapping
from typing import Any, Final

from broker.errors import OrderError, Problem
from broker.settings.config import ServicesSettings
from broker.settings.services.policies import OrderChoice, Policy, Template
from services.policies.matching import ScanFacts, first_for_all
from services.requests.named_destinations import completed
from services.responses.problems import ManyFaultsError

_GIVEN: Final = ("template", "scans")
_MOST_SHOWN: Final = 20


def filled(document: Any, settings: ServicesSettings) -> Any:
    """Return an order with what a template or a policy says of it.

    An order that names its algorithm is returned as it is, and so is what is no order. Raise
    `OrderError` for a template that there is not, or that does not allow what the order says, and
    for an order without an algorithm that no policy is for.
    """
    if not isinstance(document, dict):
        return document
    if "template" in document:
        return _of_template(document, settings)
    if "algorithm" in document or not settings.policies:
        return document
    return _by_policy(document, settings)


def _by_policy(document: dict[str, Any], settings: ServicesSettings) -> Any:
    """Return the order by the first policy that all of its scans fit. Raise `OrderError`."""
    scans = document.get("scans")
    labels = document.get("labels", {})
    if not isinstance(scans, list) or not isinstance(labels, dict):
        return document
    if not scans or not all(isinstance(scan, dict) for scan in scans):
        return document
    facts = [ScanFacts.of_order(scan, labels) for scan in scans]
    policy = first_for_all(settings.policies, facts)
    if policy is None:
        names = ", ".join(one.name for one in settings.policies)
        raise OrderError(
            "request_invalid",
            "algorithm: it is left out, and there is no policy that all scans of the order fit",
            hint=f"name an algorithm, or state stain and labels as a policy wants them: {names}",
            field="algorithm",
        )
    return by_policy(document, policy, settings)


def by_policy(
    document: Mapping[str, Any], policy: Policy, settings: ServicesSettings
) -> dict[str, Any]:
    """Return an order with the algorithm of a policy; what the order says goes before it."""
    labels = {**policy.labels, **document.get("labels", {}), "policy": policy.name}
    order = {
        **document,
        "algorithm": policy.algorithm,
        "parameters": _merged(policy.parameters, document.get("parameters", {})),
        "labels": labels,
    }
    order.setdefault("priority", policy.priority)
    if "destination" not in order:
        order["destination"] = _destination(policy, labels, document, settings)
    return order


def _destination(
    choice: OrderChoice,
    labels: Mapping[str, Any],
    document: Mapping[str, Any],
    settings: ServicesSettings,
) -> dict[str, Any]:
    """Return the destination, with the case of the labels and the slide where it takes them."""
    added = {}
    case_id = labels.get("case")
    if isinstance(case_id, str):
        added["case_id"] = case_id
        added["slide"] = case_id
    scans = document["scans"]
    if len(scans) == 1 and isinstance(scans[0].get("id"), str):
        added["slide"] = scans[0]["id"]
    return completed(choice, settings.destinations, added)


def _of_template(document: dict[str, Any], settings: ServicesSettings) -> dict[str, Any]:
    name = document["template"]
    template = None
    if isinstance(name, str):
        template = settings.templates.get(name)
    if template is None:
        raise _no_template(name, settings.templates)
    faults = list(_not_allowed(document, name, template))
    if faults:
        raise ManyFaultsError(faults)
    given = {field: value for field, value in document.items() if field != "template"}
    labels = {**given.get("labels", {}), **template.labels, "template": name}
    order = {
        **given,
        "algorithm": template.algorithm,
        "parameters": _merged(template.parameters, given.get("parameters", {})),
        "labels": labels,
        "roi_limits": template.roi.model_dump(exclude_none=True),
    }
    order.setdefault("priority", template.priority)
    scans = document.get("scans")
    if (
        "destination" not in order
        and isinstance(scans, list)
        and all(isinstance(scan, dict) for scan in scans)
    ):
        order["destination"] = _destination(template, labels, document, settings)
    return order


def _no_template(name: Any, templates: Mapping[str, Template]) -> OrderError:
    hint = "services.templates has none"
    if templates:
        hint = f"there are: {', '.join(sorted(templates))}"
    shown = "of this name"
    if isinstance(name, str) and name.isascii() and name.isidentifier():
        shown = repr(name[:64])
    return OrderError(
        "request_invalid",
        f"template: there is no template {shown}",
        hint=hint,
        field="template",
    )


def _not_allowed(document: Mapping[str, Any], name: str, template: Template) -> list[Problem]:
    """Return a fault for each field that the template decides."""
    fields = []
    for field, value in document.items():
        if field in (*_GIVEN, *template.allow) and field != "labels":
            continue
        if field == "parameters" and isinstance(value, dict):
            fields += [
                f"parameters.{one}" for one in value if f"parameters.{one}" not in template.allow
            ]
        elif field == "labels" and isinstance(value, dict):
            fixed = template.labels
            fields += [
                f"labels.{one}" for one in value if one in fixed or field not in template.allow
            ]
        elif field == "destination" and _adds_to(value, template):
            continue
        else:
            fields.append(field)
    hint = f"remove it; the template allows {', '.join(('scans', *template.allow))}"
    return [
        Problem("request_invalid", f"{field[:80]}: the template {name!r} decides it", hint, field)
        for field in fields[:_MOST_SHOWN]
    ]


def _adds_to(destination: Any, template: Template) -> bool:
    """Return whether an order only adds to the destination that its template names."""
    named = template.destination_name
    return named is not None and isinstance(destination, dict) and destination.get("name") == named


def _merged(of_settings: Mapping[str, Any], given: Any) -> Any:
    """Return the parameters of the settings with those of the order; what is none, as it is."""
    if isinstance(given, dict):
        return {**of_settings, **given}
    return given
