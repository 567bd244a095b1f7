"""Reads config.json and the environment into one frozen `Config`.

Precedence: command line > environment > file > default. Every value has an environment name
(`SLIDELANE_WORKER__SLIDES__MAX_BYTES`); with `_FILE` behind it the value is read from that file.
"""

import logging
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from broker.allowed_hosts import check_destination, check_literal
from broker.errors import OrderError
from broker.log import Form
from broker.orders.fields import Priority
from broker.settings.old_names import renamed_keys, with_new_names
from broker.settings.section import ConfigError, Section
from broker.settings.services.destinations import (
    NamedDestinations,
    destination_addresses,
    is_webhook,
)
from broker.settings.services.kue import KueSettings
from broker.settings.services.page import PageSettings
from broker.settings.services.policies import (
    Policy,
    Template,
    check_policies,
    check_watched,
    differently_named,
    rightly_named,
)
from broker.settings.services.techcyte import TechcyteSettings
from broker.settings.services.uploads import UploadSettings
from broker.settings.sources import CONFIG_VARIABLE, PREFIX, ConfigFile, Environment
from broker.settings.viewer import ViewerAddress
from broker.settings.worker import (
    AlgorithmSettings,
    DeliverySettings,
    HttpSettings,
    LimitSettings,
    SlidesSettings,
    WorkerSettings,
)

__all__ = [
    "CONFIG_VARIABLE",
    "LOOPBACK",
    "PREFIX",
    "AlgorithmSettings",
    "ApiKey",
    "BrokerSettings",
    "Config",
    "ConfigError",
    "DeliverySettings",
    "HttpSettings",
    "LimitSettings",
    "Scope",
    "ServicesSettings",
    "SlidesSettings",
    "WorkerSettings",
    "cannot_work",
    "load",
    "warn_of_old_names",
]
_log = logging.getLogger(__name__)
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*/?")
Scope = Literal["order", "read", "admin"]


class BrokerSettings(Section):
    """What the API and the workers share."""

    redis_url: str = Field("embedded", repr=False, pattern=r"^(embedded$|rediss?://|sentinel://)")
    data: Path = Field(
        Path("data"), description="folder for everything kept on this machine's disk"
    )
    storage: str | None = Field(
        None, min_length=1, description="where results and payloads are kept; None = in `data`"
    )
    uploads: Path | None = Field(
        None, description="folder of the slides that callers send in; None = `uploads` in `data`"
    )
    allow_hosts: tuple[str, ...] = Field(
        (), description="hosts or networks in private address space that may be named"
    )
    log: Form = Field("text", description="how log lines look: one for people, or one JSON object")
    secret_key: SecretStr | None = Field(
        None, description="a Fernet key that encrypts the requests of orders in Redis"
    )
    old_secret_keys: tuple[SecretStr, ...] = Field(
        (), description="older keys, with which orders may still be encrypted"
    )
    embedded_max_bytes: int = Field(
        2 * 2**30, ge=2**24, description="memory limit of our own Redis"
    )
    lease_s: float = Field(30, gt=0, description="how long taken work is held without a heartbeat")
    heartbeat_s: float = Field(10, gt=0)
    hint_again_s: float = Field(
        10, gt=0, description="waiting work gets another message after this"
    )
    attempts: int = Field(3, ge=1, description="how often a scan may lose its worker")
    order_life_s: float = Field(
        7 * 86400, gt=0, description="an order without `expires_at` expires after this"
    )
    idempotency_s: int = Field(
        7 * 86400, gt=0, description="how long an Idempotency-Key is remembered"
    )
    age_s: float = Field(
        600, gt=0, description="work that waited this long goes up one queue, at most to `high`"
    )
    keep_s: float = Field(
        30 * 86400,
        gt=0,
        description="an order that ended is forgotten after this, with its results",
    )
    max_waiting: int = Field(
        100_000, ge=1, description="orders that may wait; one more is answered 429"
    )
    viewer: ViewerAddress = ViewerAddress()

    @field_validator("storage")
    @classmethod
    def _is_a_storage(cls, location: str | None) -> str | None:
        if location and "://" in location and not _S3.fullmatch(location):
            # the value may hold a key: it is not repeated
            raise ValueError(
                "is a folder or s3://BUCKET/PREFIX; "
                "credentials and endpoint come by AWS_… variables"
            )
        return location

    @property
    def uploads_folder(self) -> Path:
        """Return the folder of uploads."""
        return self.uploads or self.data / "uploads"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return the folders that are written to: `data`, and `storage` where it is a folder."""
        if self.storage is None or "://" in self.storage:
            return (self.data,)
        return self.data, Path(self.storage)

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError(
                "broker.lease_s must be at least twice broker.heartbeat_s: "
                "one lost heartbeat is no loss"
            )
        if self.keep_s < self.idempotency_s:
            raise ValueError(
                "broker.keep_s must be at least broker.idempotency_s: "
                "a key must not outlive its order"
            )
        return self


class ApiKey(Section):
    """One caller. Only the SHA-256 of the key is stored, never the key."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = ("order", "read")
    max_priority: Priority = "urgent"
    max_waiting: int | None = Field(
        None, ge=0, description="orders of this caller that may be queued; one more is answered 429"
    )
    own_orders_only: bool = Field(
        False, description="this caller sees, and acts on, only the orders that it placed"
    )


class ServicesSettings(Section):
    """The settings of the API."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    keys: tuple[ApiKey, ...] = ()
    keys_file: Path | None = Field(
        None, description="a file or folder with more keys, read again when it changes"
    )
    destinations: NamedDestinations = Field(
        default_factory=dict, description="destinations that orders use by a name"
    )
    notify: str | None = Field(
        None, description="a webhook of `destinations` that is told how every order ends"
    )
    max_body_bytes: int = Field(1_000_000, ge=1000)
    uploads: UploadSettings = UploadSettings()
    techcyte: TechcyteSettings = TechcyteSettings()
    kue: KueSettings = KueSettings()
    page: PageSettings = PageSettings()
    policies: Annotated[tuple[Policy, ...], AfterValidator(differently_named)] = Field(
        (), description="what is ordered by itself for scans that arrive"
    )
    templates: Annotated[dict[str, Template], AfterValidator(rightly_named)] = Field(
        default_factory=dict, description="orders of which callers give the scans only"
    )
    max_connections: int = Field(
        1000, ge=1, description="connections at a time; fewer where the limit of open files is low"
    )

    @model_validator(mode="after")
    def _open_only_with_keys(self) -> Self:
        has_keys = bool(self.keys) or self.keys_file is not None
        if not has_keys and self.host not in LOOPBACK:
            raise ValueError(
                "services.host may leave loopback only when services.keys holds a key "
                "or services.keys_file names some"
            )
        return self

    @model_validator(mode="after")
    def _told_is_a_webhook(self) -> Self:
        if self.notify is not None and not is_webhook(self.destinations.get(self.notify)):
            raise ValueError(
                "services.notify must be the name of one of services.destinations, "
                "of type webhook, with url and secret"
            )
        return self


class Config(BaseSettings):
    """All settings, frozen, in three sections."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    broker: BrokerSettings = BrokerSettings()
    services: ServicesSettings = ServicesSettings()
    worker: WorkerSettings = WorkerSettings()

    @model_validator(mode="after")
    def _work_ends_before_its_order_expires(self) -> Self:
        limits = self.worker.limits
        longest = {
            f"worker.algorithms.{name}.time_limit_s": entry.time_limit_s or 0
            for name, entry in self.worker.algorithms.items()
        }
        longest |= {
            "worker.limits.fetch_s": limits.fetch_s,
            "worker.limits.deliver_s": limits.deliver_s,
        }
        for key, limit_s in longest.items():
            if limit_s >= self.broker.order_life_s:
                raise ValueError(
                    f"{key} must be below broker.order_life_s: the order would expire first"
                )
        return self

    @model_validator(mode="after")
    def _viewer_on_a_port_has_a_secret(self) -> Self:
        if self.worker.viewer.bind and self.broker.viewer.secret is None:
            raise ValueError(
                "worker.viewer.bind needs broker.viewer.secret, which the API sends: "
                "openssl rand -hex 24"
            )
        return self

    @model_validator(mode="after")
    def _what_the_locator_names_may_be_reached(self) -> Self:
        for field, address in self.worker.locator_addresses:
            try:
                check_literal(address, self.broker.allow_hosts, field)
            except OrderError as fault:
                raise ValueError(
                    f"{field}: {fault.detail}; broker.allow_hosts must list it"
                ) from None
        return self

    @model_validator(mode="after")
    def _results_may_be_sent_to_techcyte(self) -> Self:
        for index, webhook in enumerate(self.services.techcyte.webhooks):
            field = f"services.techcyte.webhooks[{index}]"
            try:
                check_destination(webhook.address, self.broker.allow_hosts, field)
            except OrderError as fault:
                raise ValueError(f"{field}: {fault.detail}; {fault.hint}") from None
        return self

    @model_validator(mode="after")
    def _named_destinations_may_be_reached(self) -> Self:
        for field, address in destination_addresses(self.services.destinations):
            try:
                check_destination(address, self.broker.allow_hosts, field)
            except OrderError as fault:
                raise ValueError(f"{field}: {fault.detail}; {fault.hint}") from None
        return self

    @model_validator(mode="after")
    def _jobs_of_kue_have_destinations(self) -> Self:
        for name, kind in self.services.kue.types.items():
            field = f"services.kue.types.{name}.destination"
            kind.check_destination(field, self.services.destinations, self.broker.allow_hosts)
        return self

    @model_validator(mode="after")
    def _orders_by_rules_can_be_placed(self) -> Self:
        services = self.services
        check_policies(
            services.policies, services.templates, services.destinations, self.broker.allow_hosts
        )
        check_watched(self.worker.watch, services.policies, self.worker.slides.roots)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced by `Environment`
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is none
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - NAME_FILE instead
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence: command line, environment, file."""
        command_line = InitSettingsSource(settings_cls, with_new_names(init_settings()))
        return command_line, Environment(settings_cls), ConfigFile(settings_cls)


def load(**overrides: Any) -> Config:
    """Read the settings. `overrides` are those of the command line, by section.

    Raise `ConfigError`, which names the key.
    """
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise ConfigError(f"{CONFIG_VARIABLE}: there is no file {path}")
    try:
        return Config(**overrides)
    except ValidationError as error:
        raise cannot_work(error) from None
    except (ValueError, OSError) as error:
        raise ConfigError(f"the settings cannot be read: {error}") from None


def warn_of_old_names() -> None:
    """Log one warning that names the settings given by an old name, and their names today."""
    renamed = renamed_keys(Environment(Config).given()) | renamed_keys(ConfigFile(Config).given())
    if renamed:
        names = ", ".join(f"{old} is now {new}" for old, new in renamed.items())
        _log.warning("settings with an old name, to be refused by the next version: %s", names)


def cannot_work(error: ValidationError) -> ConfigError:
    """Return the error for settings that are refused; it names each key and repeats no value."""
    faults = error.errors(include_url=False, include_input=False)
    lines = (f"{_key(fault['loc'])}: {fault['msg']}" for fault in faults)
    return ConfigError("the settings cannot work:\n  " + "\n  ".join(lines))


def _key(loc: tuple[str | int, ...]) -> str:
    """Return the key of a fault, without what pydantic puts into it.

    That is the type of a locator, and the form of a value, which begins with ~.
    """
    if loc[:2] == ("worker", "locator"):
        loc = loc[:2] + loc[3:]
    return ".".join(str(part) for part in loc if not str(part).startswith("~"))
