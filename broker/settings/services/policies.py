"""The settings of orders that are made by rules: policies, templates and watched folders."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, SecretStr, model_validator

from broker.allowed_hosts import check_destination
from broker.errors import OrderError
from broker.orders.fields import Priority
from broker.orders.request import LABELS
from broker.orders.roi import RoiLimits
from broker.settings.section import Section
from broker.settings.services.destinations import ADDRESS_FIELDS, checked, revealed

NONE: Final = "none"
LABEL: Final = "label."
"""Before the name of a label in `match`."""
MATCHED: Final = ("stain", "path", "modality")
OVERRIDABLE: Final = (
    *("parameters", "destination", "priority", "labels", "notify", "expires_at"),
    *("delay_s", "attempts", "on_scan_failure"),
)
"""What a template may let its orders say besides their scans."""
STAIN_LABEL: Final = "stain"
"""The name in `labels_from` that is the stain of the scan."""
_NAME: Final = r"[a-z][a-z0-9_-]{0,63}"
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_LABEL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _destination(given: str | dict[str, SecretStr]) -> str | dict[str, SecretStr]:
    """Return a destination that is a name, has one, is none, or is whole. Raise `ValueError`."""
    if isinstance(given, str) or "name" in given or revealed(given) == {"type": NONE}:
        return given
    return checked(given)


class OrderChoice(Section):
    """What is ordered where the order itself does not say: an algorithm and a destination."""

    algorithm: str = Field(pattern=f"^{_NAME}$")
    parameters: dict[str, JsonValue] = Field(default_factory=dict, max_length=64)
    destination: Annotated[str | dict[str, SecretStr], AfterValidator(_destination)] = Field(
        NONE, description="a name, or a destination as in an order"
    )

    @property
    def destination_name(self) -> str | None:
        """The name of a destination in `services.destinations`, or None."""
        if isinstance(self.destination, str):
            if self.destination == NONE:
                return None
            return self.destination
        name = self.destination.get("name")
        if name is None:
            return None
        return name.get_secret_value()

    @property
    def destination_fields(self) -> dict[str, Any]:
        """The fields of the destination that stand here, in clear."""
        if isinstance(self.destination, str):
            if self.destination == NONE:
                return {"type": NONE}
            return {"name": self.destination}
        return revealed(self.destination)

    def check_destination(
        self, field: str, named: Mapping[str, Any], allow_hosts: Sequence[str]
    ) -> None:
        """Raise `ValueError` for a name that nobody has, or an address that is not allowed.

        `field`: the key of the destination in the settings. `named`: `services.destinations`.
        """
        name = self.destination_name
        if name is not None and name not in named:
            raise ValueError(
                f"{field}: there is no destination {name[:64]!r} in services.destinations"
            )
        fields = self.destination_fields
        for address in [fields[name] for name in ADDRESS_FIELDS if name in fields]:
            try:
                check_destination(address, allow_hosts, field)
            except OrderError as fault:
                raise ValueError(f"{field}: {fault.detail}; {fault.hint}") from None


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    return value


_Accepted = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=64),
]


def _conditions(match: dict[str, Any]) -> dict[str, Any]:
    for name in match:
        if name not in MATCHED and not (name.startswith(LABEL) and len(name) > len(LABEL)):
            raise ValueError(
                f"{name[:64]!r} is nothing that a scan has; there are {', '.join(MATCHED)} "
                f"and {LABEL}NAME"
            )
    return match


class Policy(OrderChoice):
    """What is ordered by itself for a scan that arrives, where it matches."""

    name: str = Field(
        pattern=f"^{_NAME}$", description="`policy:NAME` is `created_by` of its orders"
    )
    event: Literal["scan"] = Field("scan", description="`scan`: a scan has arrived")
    match: Annotated[dict[str, _Accepted], AfterValidator(_conditions)] = Field(
        default_factory=dict,
        description="all must fit, each to one of its values: stain, label.NAME, path, modality",
    )
    priority: Priority = "normal"
    labels: LABELS = Field(default_factory=dict, description="added to those of the scan")


class Template(OrderChoice):
    """An order of which callers give the scans only, and what they may change."""

    title: str = Field("", max_length=200, description="what people read")
    priority: Priority = "normal"
    labels: LABELS = Field(default_factory=dict)
    roi: RoiLimits = RoiLimits()
    allow: tuple[str, ...] = Field(
        ("labels", "priority"), description="fields that an order may give besides its scans"
    )

    @model_validator(mode="after")
    def _allows_what_there_is(self) -> Self:
        for name in self.allow:
            if name not in OVERRIDABLE and not re.fullmatch(r"parameters\.[^.]{1,64}", name):
                raise ValueError(
                    f"allow: {name[:64]!r} cannot be allowed; there are {', '.join(OVERRIDABLE)} "
                    "and parameters.NAME"
                )
        return self


def _is_pattern(text: str) -> str:
    names = _PLACEHOLDER.findall(text)
    wrong = [name for name in names if not _LABEL_NAME.fullmatch(name)]
    rest = _PLACEHOLDER.sub("", text)
    if wrong or not names or len(set(names)) < len(names) or "{" in rest or "}" in rest:
        raise ValueError("looks like {case}/{block}_{stain}.svs, with each name once")
    return text


class WatchedFolder(Section):
    """A folder whose new slides are ordered by themselves."""

    path: Path = Field(description="a folder below one of `worker.slides.roots`")
    policy: str | None = Field(
        None, description="the only policy that is looked at; None = each one that matches"
    )
    existing: Literal["skip", "order"] = Field(
        "skip", description="what becomes of slides that are there when it is first watched"
    )
    interval_s: float = Field(
        10,
        ge=0.05,
        le=86400,
        description="pause between two looks; a slide must stand still so long",
    )
    stain: str | None = Field(None, max_length=64, description="the stain of all its slides")
    labels: LABELS = Field(default_factory=dict, description="the labels of all its slides")
    labels_from: Annotated[str, Field(max_length=512), AfterValidator(_is_pattern)] | None = Field(
        None,
        description="how labels are read from a path below the folder: {case}/{block}_{stain}.svs",
    )
    mpp: float | None = Field(
        None, gt=0.01, lt=100, description="microns per pixel where a slide does not say"
    )

    def labels_of(self, relative: str) -> dict[str, str]:
        """Return the labels of the slide at this path below the folder."""
        labels = dict(self.labels)
        if self.labels_from is None:
            return labels
        found = _regex(self.labels_from).fullmatch(relative)
        if found:
            labels |= {name: value[:256] for name, value in found.groupdict().items()}
        return labels


def _regex(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern; a name or `*` is any text within one part of a path."""
    parts = []
    end = 0
    for found in _PLACEHOLDER.finditer(pattern):
        parts.append(_escaped(pattern[end : found.start()]))
        parts.append(f"(?P<{found[1]}>[^/]+?)")
        end = found.end()
    parts.append(_escaped(pattern[end:]))
    return re.compile("".join(parts))


def _escaped(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]*")


def check_policies(
    policies: Sequence[Policy],
    templates: Mapping[str, Template],
    named: Mapping[str, Any],
    allow_hosts: Sequence[str],
) -> None:
    """Raise `ValueError` for destinations that there are not, or that must not be reached."""
    for policy in policies:
        field = f"services.policies[{policy.name}].destination"
        policy.check_destination(field, named, allow_hosts)
    for name, template in templates.items():
        field = f"services.templates.{name}.destination"
        template.check_destination(field, named, allow_hosts)


def check_watched(
    folders: Sequence[WatchedFolder], policies: Sequence[Policy], roots: Sequence[Path]
) -> None:
    """Raise `ValueError` for a folder that must not be read, or whose policy there is not."""
    names = [policy.name for policy in policies]
    for index, folder in enumerate(folders):
        key = f"worker.watch[{index}]"
        if not names:
            raise ValueError(f"{key}: services.policies is empty, so nothing would be ordered")
        if folder.policy is not None and folder.policy not in names:
            raise ValueError(
                f"{key}.policy: there is no policy {folder.policy[:64]!r} in services.policies"
            )
        if not any(_is_below(folder.path, root) for root in roots):
            raise ValueError(f"{key}.path: must lie below one of worker.slides.roots")
    for key in _twice(folders):
        raise ValueError(f"{key}: the same folder is watched twice for the same policy")


def _is_below(path: Path, root: Path) -> bool:
    """Return whether a path lies below a root as both are written, or with links resolved."""
    if ".." in path.parts:
        return False
    return path.absolute().is_relative_to(root.absolute()) or path.resolve().is_relative_to(
        root.resolve()
    )


def _twice(folders: Sequence[WatchedFolder]) -> Iterator[str]:
    seen = set()
    for index, folder in enumerate(folders):
        what = (folder.path.resolve(), folder.policy)
        if what in seen:
            yield f"worker.watch[{index}]"
        seen.add(what)


def differently_named(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """Return the policies. Raise `ValueError` where two have the same name."""
    names = [policy.name for policy in policies]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two policies are called {name!r}")
    return policies


def rightly_named(templates: dict[str, Template]) -> dict[str, Template]:
    """Return the templates. Raise `ValueError` for a name that no order could say."""
    for name in templates:
        if not re.fullmatch(_NAME, name):
            raise ValueError(
                f"{name[:64]!r}: a name has small letters, digits, _ and -, 64 at most"
            )
    return templates
