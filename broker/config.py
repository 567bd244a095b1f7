"""config.json and the environment become one frozen `Config`, or a message that names the key.

Precedence: command line > environment > file > default. Every value has an environment name
(`SLIDELANE_WORKER__SLIDES__MAX_BYTES`); with `_FILE` behind it the value is read from that file.
"""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, JsonConfigSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from broker.environment import CONFIG_VARIABLE, PREFIX, ConfigError, Environment

__all__ = ["CONFIG_VARIABLE", "LOOPBACK", "PREFIX", "AlgorithmSettings", "ApiKey", "BrokerSettings", "Config",
           "ConfigError", "DeliverySettings", "LimitSettings", "Scope", "ServicesSettings", "SlidesSettings",
           "WorkerSettings", "load"]  # fmt: skip
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
Scope = Literal["order", "read", "admin"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BrokerSettings(_Section):
    """What desk and bench share."""

    redis_url: str = Field("embedded", repr=False, pattern=r"^(embedded$|rediss?://|sentinel://)")
    data: Path = Field(Path("data"), description="folder for everything kept on disk")
    allow_hosts: tuple[str, ...] = Field((), description="hosts or networks in private address space that may be named")
    secret_key: SecretStr | None = Field(None, description="a Fernet key; seals the secrets of orders at rest")
    embedded_max_bytes: int = Field(2 * 2**30, ge=2**24, description="memory limit of our own Redis")
    lease_s: float = Field(30, gt=0, description="how long taken work is held without a heartbeat")
    heartbeat_s: float = Field(10, gt=0)
    hint_again_s: float = Field(10, gt=0, description="waiting work is hinted at again after this")
    attempts: int = Field(3, ge=1, description="how often a scan may lose its worker")
    order_life_s: float = Field(7 * 86400, gt=0, description="an order without `expires_at` expires after this")
    idempotency_s: int = Field(7 * 86400, gt=0, description="how long an Idempotency-Key is remembered")
    age_s: float = Field(600, gt=0, description="work that waited this long goes up one queue, at most to `high`")
    keep_s: float = Field(30 * 86400, gt=0, description="an order that ended is forgotten after this, with its results")
    max_waiting: int = Field(100_000, ge=1, description="orders that may wait; one more is answered 429")

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError("broker.lease_s must be at least twice broker.heartbeat_s: one lost heartbeat is no loss")
        if self.keep_s < self.idempotency_s:
            raise ValueError("broker.keep_s must be at least broker.idempotency_s: a key must not outlive its order")
        return self


class ApiKey(_Section):
    """One caller. The key itself is never kept, only its SHA-256."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = ("order", "read")


class ServicesSettings(_Section):
    """The front desk."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    keys: tuple[ApiKey, ...] = ()
    max_body_bytes: int = Field(1_000_000, ge=1000)

    @model_validator(mode="after")
    def _open_only_with_keys(self) -> Self:
        if not self.keys and self.host not in LOOPBACK:
            raise ValueError("services.host may leave loopback only when services.keys holds a key")
        return self


class SlidesSettings(_Section):
    """Slides on this machine's disk."""

    roots: tuple[Path, ...] = Field((), description="folders from which `path` sources may be read")
    max_bytes: int = Field(200 * 10**9, gt=0, description="byte budget of the shelf")
    max_slide_bytes: int = Field(50 * 10**9, gt=0, description="the largest slide that is fetched")
    keep_s: float = Field(30 * 86400, gt=0, description="a fetched slide that was not used for so long is removed")


class AlgorithmSettings(_Section):
    """One orderable algorithm: a built-in `kind`, with this site's lane, limits and parameter defaults."""

    kind: str
    lane: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]{0,31}$")
    time_limit_s: float | None = Field(None, gt=0)
    parameters: dict[str, Any] = Field(default_factory=dict, description="defaults that differ from the card's")


class DeliverySettings(_Section):
    """How results go out."""

    connect_timeout_s: float = Field(5, gt=0)
    read_timeout_s: float = Field(30, gt=0)
    first_retry_s: float = Field(1, gt=0)
    max_retry_s: float = Field(900, gt=0)
    on_unknown: Literal["stop", "repeat"] = Field(
        "stop", description="after a lost answer nobody can clear up: end `undelivered`, or risk a second delivery"
    )


class LimitSettings(_Section):
    """How long work may take. A scan's own limits for classifying are on its algorithm's card."""

    fetch_s: float = Field(6 * 3600, gt=0, description="longest a slide may take to arrive")
    deliver_s: float = Field(900, gt=0, description="longest one delivery attempt may take")
    stall_s: float = Field(300, gt=0, description="longest without a byte or a step")

    @model_validator(mode="after")
    def _a_stall_is_shorter_than_the_leg(self) -> Self:
        if self.stall_s > min(self.fetch_s, self.deliver_s):
            raise ValueError(
                "worker.limits.stall_s must not exceed worker.limits.fetch_s or deliver_s: it would never be reached"
            )
        return self


class WorkerSettings(_Section):
    """The bench."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    lanes: tuple[str, ...] = Field(("gpu",), min_length=1, description="queues this worker's classify leg listens to")
    threads: int | None = Field(
        None, ge=1, description="decoding and computing threads; None = what the machine grants"
    )
    grace_s: float = Field(
        20, ge=0, description="how long running work may go on after SIGTERM; then it is handed back"
    )
    courier_threads: int = Field(8, ge=2, description="fetches and deliveries at a time")
    slides: SlidesSettings = SlidesSettings()
    algorithms: dict[str, AlgorithmSettings] = Field(
        default_factory=lambda: {"ki67": AlgorithmSettings(kind="ki67"), "grid": AlgorithmSettings(kind="grid")}
    )
    deliver: DeliverySettings = DeliverySettings()
    limits: LimitSettings = LimitSettings()


class Config(BaseSettings):
    """All settings, frozen. Three sections, one for each room."""

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
        longest |= {"worker.limits.fetch_s": limits.fetch_s, "worker.limits.deliver_s": limits.deliver_s}
        for key, limit_s in longest.items():
            if limit_s >= self.broker.order_life_s:
                raise ValueError(f"{key} must be below broker.order_life_s: the order would expire first")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours takes its place
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is none
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - NAME_FILE takes its place
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, file; in this order."""
        file = JsonConfigSettingsSource(settings_cls, json_file=os.environ.get(CONFIG_VARIABLE, "config.json"))
        return init_settings, Environment(settings_cls), file


def load(**overrides: Any) -> Config:
    """Read the settings; `overrides` (by section) are the command line's. Raises `ConfigError`."""
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise ConfigError(f"{CONFIG_VARIABLE}: there is no file {path}")
    try:
        return Config(**overrides)
    except ValidationError as error:
        lines = (
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False, include_input=False)
        )
        raise ConfigError("the settings cannot work:\n  " + "\n  ".join(lines)) from None
    except (ValueError, OSError) as error:
        raise ConfigError(f"the settings cannot be read: {error}") from None
