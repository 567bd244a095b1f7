"""Which device computes, and what it is."""

import torch

from broker.config import ConfigError


def device_of(setting: str) -> torch.device:
    """`auto` takes a CUDA device where there is one. Raises `ConfigError` when the one asked for is not there."""
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(setting)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ConfigError(
            f"worker.device: {setting} is not there; {found} CUDA devices are. Use auto or cpu, or see the driver"
        )
    return device
