"""States when and with what a result is made."""

from datetime import UTC, datetime
from typing import Any

from worker.algorithms import registry
from worker.algorithms.interface import Algorithm
from worker.http_session import product_version


def produced_with(algorithm: Algorithm, device: str) -> dict[str, Any]:
    """Return when and with what a result is made, as results.json states it.

    `device` is the setting, such as `auto`. Raise `ConfigError` where there is no such device.
    """
    used_device = None
    torch_version = None
    if algorithm.works_on not in ("area", "program"):
        used_device, torch_version = registry.device_and_torch(device)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "slidelane": product_version(),
        "device": used_device,
        "torch": torch_version,
    }
