"""Turns the settings of DynamicServices into ours, and says what has no counterpart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from slidelane.import_config.addresses import Address, of_image_server, of_parts
from slidelane.import_config.errors import ImportProblemsError
from slidelane.import_config.old_file import OldSettings

LOADER: Final = "loader"
"""The name of the destination that the annotation loader becomes."""
_LOCATION_POINTER: Final = "/0/file-location"
"""Where the answer of Bindaas has the location of the slide."""
_MASK_PATH: Final = "/submitMaskOrder"
_JOB_TYPES: Final = ("analysisJob", "order")
"""What the viewers call the jobs that DynamicServices took, newer and older ones."""
_ALGORITHM: Final = "ki67"
_MPP: Final = 0.25
"""What DynamicServices took where an order said nothing."""
_CHANNELS: Final = ("orders.redis.channel", "annotations.redis.channel")


@dataclass(frozen=True, slots=True)
class Translation:
    """A config.json of Slidelane, and a remark for each thing that it does not say."""

    config: dict[str, dict[str, Any]]
    remarks: tuple[str, ...]


def translate(old: OldSettings) -> Translation:
    """Return our settings for those of DynamicServices. Raise `ImportProblemsError`."""
    problems: list[str] = []
    location = of_parts(old, "images.location", problems)
    image_server = of_image_server(old, problems)
    loader = of_parts(old, "annotations.server", problems)
    if problems:
        raise ImportProblemsError(problems)
    config: dict[str, dict[str, Any]] = {"broker": {}, "services": {}, "worker": {}}
    known = [address for address in (location, image_server, loader) if address]
    if known:
        hosts = list(dict.fromkeys(address.host for address in known))
        config["broker"]["allow_hosts"] = hosts
    if loader:
        destination = {"type": "annotation", "url": loader.url}
        config["services"]["destinations"] = {LOADER: destination}
    if _has(old, "orders.kue"):
        config["services"]["kue"] = _kue(has_loader=loader is not None)
    if location and image_server:
        config["worker"]["locator"] = _locator(location, image_server)
    remarks = [
        *_remarks_on_orders(old),
        *_remarks_on_images(old, location, image_server),
        *_remarks_on_annotations(old, loader),
        *_remarks_on_the_rest(old),
    ]
    return Translation(config, tuple(remarks))


def _locator(location: Address, image_server: Address) -> dict[str, Any]:
    """Return the locator: Bindaas says where a slide is, and the image server serves it."""
    return {
        "type": "http",
        "url": f"{location.url}?TCGAId={{case_id}}",
        "location": _LOCATION_POINTER,
        "source": {
            "type": "image_server",
            "url": f"{image_server.url}{{location}}",
            "protocol": "iiif",
        },
    }


def _kue(*, has_loader: bool) -> dict[str, Any]:
    """Return what is ordered for the jobs that DynamicServices took."""
    job: dict[str, Any] = {"algorithm": _ALGORITHM, "mpp": _MPP}
    if has_loader:
        job["destination"] = LOADER
    return {"types": {name: dict(job) for name in _JOB_TYPES}}


def _remarks_on_orders(old: OldSettings) -> Iterator[str]:
    if _has(old, "orders.kue"):
        yield (
            "orders.kue: Kue is not needed any more. Viewers order here with "
            "kueHost=HOST:PORT/kue; services.kue.types says what runs for their jobs "
            f"({_ALGORITHM!r}: put the algorithm of yours in its place), and "
            "services.kue.networks must name the addresses of the viewers' web servers"
        )
    if _has(old, "orders.redis"):
        yield (
            "orders.redis: left out. Orders are kept in a Redis of Slidelane's own "
            "(broker.redis_url). Where other programs listen to q:events there, set "
            "services.kue.publish_events and services.kue.events_url once Kue no longer writes "
            "to that Redis, for both count jobs from 1"
        )


def _remarks_on_images(
    old: OldSettings, location: Address | None, image_server: Address | None
) -> Iterator[str]:
    if not location or not image_server:
        yield (
            "worker.locator: not written, because it takes images.location and "
            "images.imageServer.url, and not both are in the file; orders must say where a slide is"
        )
        return
    if old.get("images.api_key_file"):
        yield (
            "images.api_key_file: the key is not copied. The file that it names has the form that "
            "is needed: give its absolute path to the workers in the environment variable "
            "SLIDELANE_WORKER__LOCATOR__QUERY_FILE"
        )
    yield (
        "worker.locator: image servers seldom state microns per pixel; give scans[].mpp in orders "
        "(DynamicServices took 0.25 where an order said nothing)"
    )
    if old.get("images.imageServer.format"):
        yield "images.imageServer.format: left out. It only named the file of a tile"


def _remarks_on_annotations(old: OldSettings, loader: Address | None) -> Iterator[str]:
    if loader:
        yield (
            f"annotations.server: is the destination {LOADER!r} of services.destinations; an order "
            f'names it as {{"name": "{LOADER}", "case_id": …}}'
        )
        if loader.url.endswith(_MASK_PATH):
            yield (
                f"annotations.server.path: {_MASK_PATH} takes masks and refuses the zip that is "
                "delivered; the loader takes that at /submitZipOrder, in most places on port 3001. "
                f"Correct services.destinations.{LOADER}.url"
            )
    else:
        yield "annotations.server: not in the file; results are kept for download"
    if _has(old, "annotations.redis"):
        yield (
            "annotations.redis: left out. An order is delivered when the loader has taken the zip. "
            "To have it wait for the importer, set "
            f"services.destinations.{LOADER}.confirm_url to http://HOST:PORT/job/{{id}} of the "
            "loader's own Kue, whose HTTP port (often 3000) the file does not tell"
        )


def _remarks_on_the_rest(old: OldSettings) -> Iterator[str]:
    channels = [key for key in _CHANNELS if old.get(key)]
    if channels:
        yield f"{_listed(channels)}: left out. DynamicServices never read it"
    yield (
        "worker.algorithms: the file names no algorithm, because the daemon always ran "
        "mainSegmentFeatures. `ki67` and `grid` can be ordered; add yours (docs/algorithms.md)"
    )
    if old.unknown:
        yield f"{_listed(old.unknown)}: left out. DynamicServices has no such key"


def _has(old: OldSettings, section: str) -> bool:
    """Return whether the file says where the service of a section is."""
    return any(old.get(f"{section}.{name}") for name in ("host", "port", "path"))


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys)
