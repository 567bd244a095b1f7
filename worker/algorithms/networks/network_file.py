"""Loads the file of a trained network: TorchScript, torch.export or ONNX. Unpickles no code."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from warnings import catch_warnings, simplefilter

import torch

from worker.algorithms.networks import exported_archive, onnx_network
from worker.algorithms.networks.printed import bound_prints
from worker.algorithms.torch_device.device import Device

EXPORTED: Final = ".pt2"
ONNX: Final = ".onnx"


def load_network(
    file: Path, device: Device, precision: torch.dtype | None, *, is_compiled: bool = False
) -> Callable[..., Any]:
    """Return the network of the file on the device, ready to be called with tensors on it.

    It answers a tensor, a tuple or list, or a dictionary, as it was exported; an ONNX network a
    dictionary in the order of its outputs. `precision` is what its floating-point weights are
    converted to; None leaves them, and those of ONNX always stay as they are.

    Raises ValueError for a file that is none of the three formats, and what torch and onnxruntime
    raise where it cannot be loaded.
    """
    if file.suffix == ONNX:
        return onnx_network.load(file, device)
    if file.suffix == EXPORTED:
        return _exported(file, device, precision, is_compiled=is_compiled)
    _check_is_torchscript(file)
    bound_prints()
    with catch_warnings():
        simplefilter("ignore", DeprecationWarning)  # of TorchScript, the format of the zoo
        return _frozen(file, device, precision)


def _exported(
    file: Path, device: Device, precision: torch.dtype | None, *, is_compiled: bool
) -> Callable[..., Any]:
    module = exported_archive.load(file).to(device.torch)
    if precision is not None:
        module = module.to(precision)
    if is_compiled:
        compiled: Callable[..., Any] = torch.compile(module)
        return compiled
    return module


def _check_is_torchscript(file: Path) -> None:
    """Raise ValueError unless the file is an archive of TorchScript: code beside its constants.

    A pickle of weights, as torch.save writes it, has no code.
    """
    names: list[str] = []
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    has_constants = any(name.endswith("/constants.pkl") for name in names)
    has_code = any("/code/" in name for name in names)
    if not (has_constants and has_code):
        raise ValueError(
            "it is no TorchScript archive; weights that torch.save wrote hold no network. Export "
            "it with torch.jit.trace or torch.jit.script and save that"
        )


def _frozen(file: Path, device: Device, precision: torch.dtype | None) -> Callable[..., Any]:
    """Load a TorchScript network and freeze it.

    Without optimize_for_inference: on CPUs it made a small network four times as slow, and
    MobileNetV3 no faster.
    """
    loaded: Any = torch.jit.load(file, map_location=device.torch)  # type: ignore[no-untyped-call]
    script = loaded.eval()
    if precision is not None:
        script = script.to(precision)
    script = script.to(memory_format=torch.channels_last)
    frozen: Callable[..., Any] = torch.jit.freeze(script)
    return frozen
