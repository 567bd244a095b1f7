"""Which device computes. Knows torch, and no algorithm."""

import torch

from broker.config import ConfigError


def resolve(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` names. Raises `ConfigError` where there is no such device."""
    count = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda:0" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(f"worker.device: {name} is a GPU that torch does not see (it sees {count}); use auto or cpu")
    return device


def describe(device: torch.device) -> dict[str, str | int]:
    """The device as records name it; a GPU with its memory in bytes."""
    if device.type != "cuda":
        return {"device": str(device), "name": f"{torch.get_num_threads()} CPU threads"}
    card = torch.cuda.get_device_properties(device)
    return {"device": str(device), "name": card.name, "memory_bytes": card.total_memory}


def names() -> list[str]:
    """The GPUs that torch sees, each by the name that CUDA_VISIBLE_DEVICES takes for it, whatever else is visible."""
    return [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(torch.cuda.device_count())]
