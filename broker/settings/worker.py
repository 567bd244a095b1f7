"""The settings of the workers. `broker.settings.config` reads them from file and environment."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from broker.orders.source import PathSource
from broker.orders.techcyte_options import Features, FeaturesIn, QcFailReasons
from broker.settings.locator import HttpLocator, Locator
from broker.settings.programs import MachineClass, ProgramVariables
from broker.settings.section import Section
from broker.settings.services.policies import WatchedFolder
from broker.settings.viewer import ViewerSettings


class SlidesSettings(Section):
    """Slides on this machine's disk."""

    roots: tuple[Path, ...] = Field((), description="folders from which `path` sources may be read")
    max_bytes: int = Field(200 * 10**9, gt=0, description="byte budget of the slide cache")
    max_slide_bytes: int = Field(50 * 10**9, gt=0, description="the largest slide that is fetched")
    keep_s: float = Field(
        30 * 86400, gt=0, description="a fetched slide that was not used for so long is removed"
    )


class AlgorithmSettings(Section):
    """One algorithm that can be ordered: its kind, and this site's queue, limits and defaults."""

    model_config = ConfigDict(serialize_by_alias=True)

    kind: str
    folder: Path | None = Field(
        None,
        description="of kind `weights`: where model.json, or WSInfer's config.json, and the "
        "trained network are",
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-fA-F]{64}$",
        description="of kind `weights`: of the network's file, in hex; another file is refused",
    )
    entry: str | None = Field(
        None,
        max_length=1000,
        description='of kind `python`: "package.module:name" or "/path/file.py:name"',
    )
    command: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="of kind `command`: the program and its arguments",
    )
    image: str | None = Field(
        None, max_length=500, description="of kind `container`: the image, as its engine names it"
    )
    engine: str | None = Field(
        None,
        max_length=50,
        description="of kind `container`: docker, podman or apptainer; null = the first that works",
    )
    env: ProgramVariables = Field(
        default_factory=dict,
        description="of the kinds `command` and `container`: variables of the site, by name; the "
        'value, or {"file": PATH}',
    )
    class_name: str | None = Field(
        None,
        alias="class",
        max_length=64,
        description="of the kinds `command` and `container`: a name in worker.classes",
    )
    allow_hosts: tuple[str, ...] = Field(
        (),
        max_length=100,
        description="of the kinds `command` and `container`: hosts that the program may reach by "
        "https; [] = none",
    )
    memory_bytes: int | None = Field(
        None,
        ge=2**28,
        description="of kind `python`: the most memory that its process may take; null = nine "
        "tenths of what the worker may take",
    )
    tolerance: float = Field(
        0,
        ge=0,
        le=1,
        description="of kind `weights`: by how much half precision may change a probability",
    )
    compile: bool = Field(
        False, description="of kind `weights`, file .pt2: have torch.compile make it faster"
    )
    encoders: dict[str, Path] = Field(
        default_factory=dict,
        description="of kind `weights`: folders of the encoders that model.json of a network for "
        "slides may name; those of all other `weights` algorithms are added",
    )
    title: str | None = Field(
        None, min_length=1, max_length=200, description="in place of its card's"
    )
    description: str | None = Field(None, max_length=2000, description="in place of its card's")
    titles: dict[str, str] = Field(
        default_factory=dict, description="what people read for a class, by its name"
    )
    colors: dict[str, str] = Field(
        default_factory=dict, description="#rrggbb of a class, by its name"
    )
    annotation_types: dict[str, str] = Field(
        default_factory=dict, description="annotation type of a class at Techcyte, by its name"
    )
    stains: tuple[str, ...] | None = Field(
        None,
        max_length=16,
        description="stains that it works on, such as H&E, in place of its card's; "
        "[] = any, nothing is compared",
    )
    queue: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]{0,31}$")
    time_limit_s: float | None = Field(None, gt=0)
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="defaults that differ from the card's"
    )
    _classes: Mapping[str, MachineClass] = PrivateAttr(default_factory=dict)

    def learn_classes(self, classes: Mapping[str, MachineClass]) -> None:
        """Take over `worker.classes`, of which the entry may name one."""
        self._classes = classes

    @property
    def known_classes(self) -> tuple[str, ...]:
        """Return the names in `worker.classes`."""
        return tuple(sorted(self._classes))

    @property
    def machine_class(self) -> MachineClass | None:
        """Return the class that it names; None where it names none, or one that there is not."""
        if self.class_name is None:
            return None
        return self._classes.get(self.class_name)


class HttpSettings(Section):
    """How slides and results travel over HTTP."""

    ca_file: Path | None = Field(
        None, description="PEM file with certificate authorities of the site, added to public ones"
    )
    proxy: SecretStr | None = Field(
        None, description="proxy for all but loopback and NO_PROXY; may hold a login"
    )

    @field_validator("proxy")
    @classmethod
    def _is_an_http_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is None:
            return None
        try:
            parts = urlsplit(proxy.get_secret_value())
            is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port  # raises `ValueError` for an impossible port
        except ValueError:
            is_usable = False
        if not is_usable:
            # the value may hold a password: it is not repeated
            raise ValueError("is http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before")
        return proxy


class TechcyteDeliverySettings(Section):
    """What Techcyte gets of results, where the order does not say."""

    features: Features = Field(
        "outlines",
        description="what is drawn of each object: `outlines`, `simplified` ones, "
        "`points`, a `heat_map`, or `none`",
    )
    features_in: FeaturesIn = Field(
        "geojson",
        description="where that stands: as annotations in `geojson`, in the `segments` "
        "of a Basic report, or in `both`",
    )
    qc_fail_reasons: QcFailReasons = Field(
        "none",
        description="`warnings`: what we found of a slide is its quality control, a pass where "
        "that is nothing; `none`: it is left alone",
    )
    max_bytes: int = Field(100 * 10**6, ge=10_000, description="the largest post of results")
    debug_max_bytes: int = Field(
        50 * 10**6, ge=10_000, description="the largest debug file; what does not fit is left out"
    )


class DeliverySettings(Section):
    """How results are delivered."""

    connect_timeout_s: float = Field(5, gt=0)
    read_timeout_s: float = Field(30, gt=0)
    first_retry_s: float = Field(1, gt=0)
    max_retry_s: float = Field(900, gt=0)
    on_unknown: Literal["stop", "repeat"] = Field(
        "stop",
        description="where it stays unknown whether results arrived: "
        "end `undelivered`, or risk a second delivery",
    )
    unknown_patience_s: float = Field(
        600,
        ge=0,
        description="after an attempt whose answer was lost or untrue, a destination that is asked "
        "and does not have the results is believed only after this",
    )
    untrue_attempts: int = Field(
        3,
        ge=1,
        description="attempts that the destination confirmed without having the results; "
        "then the order ends `undelivered`",
    )
    techcyte: TechcyteDeliverySettings = TechcyteDeliverySettings()


class LimitSettings(Section):
    """How much time and memory work may take.

    The time limits for classifying are on the card of the algorithm.
    """

    fetch_s: float = Field(6 * 3600, gt=0, description="longest a slide may take to arrive")
    deliver_s: float = Field(900, gt=0, description="longest one delivery attempt may take")
    stall_s: float = Field(300, gt=0, description="longest without a byte or a step")
    decode_s: float = Field(60, gt=0, description="longest one read of pixels may take")
    decode_bytes: int = Field(
        4 * 2**30, ge=2**29, description="memory that a process that decodes a slide may use"
    )

    @model_validator(mode="after")
    def _each_can_be_reached(self) -> Self:
        if self.stall_s > min(self.fetch_s, self.deliver_s):
            raise ValueError(
                "worker.limits.stall_s must not exceed worker.limits.fetch_s or deliver_s: "
                "it would never be reached"
            )
        if self.decode_s > self.stall_s:
            raise ValueError(
                "worker.limits.decode_s must not exceed worker.limits.stall_s: "
                "it would never be reached"
            )
        return self


class WorkerSettings(Section):
    """The settings of the workers."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    queues: tuple[str, ...] = Field(
        ("gpu",), min_length=1, description="queues on which this worker waits for scans"
    )
    threads: int | None = Field(
        None, ge=1, description="decoding and computing threads; None = what the machine grants"
    )
    grace_s: float = Field(
        20,
        ge=0,
        description="how long running work may go on after SIGTERM; then it is handed back",
    )
    courier_threads: int = Field(8, ge=2, description="fetches and deliveries at a time")
    slides: SlidesSettings = SlidesSettings()
    watch: tuple[WatchedFolder, ...] = Field(
        (), max_length=64, description="folders whose new slides are ordered by themselves"
    )
    locator: Locator | None = Field(None, description="how the slide of a `case` source is found")
    classes: dict[str, MachineClass] = Field(
        default_factory=dict, description="classes of machines; at Techcyte, instance types"
    )
    algorithms: dict[str, AlgorithmSettings] = Field(
        default_factory=lambda: {
            "ki67": AlgorithmSettings(kind="ki67"),
            "grid": AlgorithmSettings(kind="grid"),
        }
    )
    http: HttpSettings = HttpSettings()
    deliver: DeliverySettings = DeliverySettings()
    limits: LimitSettings = LimitSettings()
    viewer: ViewerSettings = ViewerSettings()

    @field_validator("algorithms")
    @classmethod
    def _know_one_another(
        cls, algorithms: dict[str, AlgorithmSettings], info: ValidationInfo
    ) -> dict[str, AlgorithmSettings]:
        """Tell each algorithm the classes of machines, of which it may name one.

        Tell each `weights` algorithm the folders of the others, which may be its encoder.
        """
        classes = info.data.get("classes", {})
        folders = {}
        for name, entry in algorithms.items():
            if entry.kind == "weights" and entry.folder is not None:
                folders[name] = entry.folder
        known = {}
        for name, entry in algorithms.items():
            known[name] = entry.model_copy()
            if entry.kind == "weights":
                others = {other: folder for other, folder in folders.items() if other != name}
                known[name] = entry.model_copy(update={"encoders": others | entry.encoders})
            known[name].learn_classes(classes)
        return known

    @model_validator(mode="after")
    def _located_paths_may_be_read(self) -> Self:
        if self.locator is None or self.slides.roots:
            return self
        if any(isinstance(source, PathSource) for _, source in self.locator.sources):
            raise ValueError(
                "worker.locator names paths, and worker.slides.roots no folder "
                "that they may lie below"
            )
        return self

    @property
    def locator_addresses(self) -> Iterator[tuple[str, str]]:
        """Every URL in the settings of the locator, in clear, with its key before it."""
        if self.locator is None:
            return
        if isinstance(self.locator, HttpLocator):
            yield "worker.locator.url", self.locator.url.get_secret_value()
        for key, source in self.locator.sources:
            for field, address in source.addresses:
                yield f"worker.locator.{key}.{field}", address
