"""Runs networks in ONNX files with onnxruntime, which is installed only where somebody wants it."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from worker.algorithms.model_folder import onnx_file
from worker.algorithms.torch_device.device import Device

_MISSING: Final = "onnxruntime is not installed here; pip install slidelane[onnx]"
_QUIET: Final = 3
"""onnxruntime's level of logging: errors alone."""


class NamedAnswers(dict[str, Tensor]):
    """What an ONNX network answers: tensors by name, in the order of its outputs."""


def load(file: Path, device: Device) -> Callable[..., NamedAnswers]:
    """Return the network of the file. Raises ValueError where it or onnxruntime is unfit."""
    onnx_file.external_files(file)
    if find_spec("onnxruntime") is None:
        raise ValueError(_MISSING)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    # one batch for each core: threads of its own would take the cores of the others
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.is_gpu:
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ValueError(
                "the installed onnxruntime cannot use a GPU; pip install onnxruntime-gpu in its "
                "place, or set worker.device to cpu"
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.torch.index or 0}))
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    return OnnxNetwork(session, device)


class OnnxNetwork:
    """An ONNX network. Threads may share it."""

    def __init__(self, session: Any, device: Device) -> None:
        self._session = session
        self._device = device
        inputs = session.get_inputs()
        self._inputs = [entry.name for entry in inputs]
        self._batches = [entry.shape[0] if entry.shape else None for entry in inputs]
        self._outputs = [entry.name for entry in session.get_outputs()]

    def __call__(self, *given: Tensor) -> NamedAnswers:
        """Return what the network answers to these inputs, in the order of its own."""
        if len(given) != len(self._inputs):
            raise ValueError(f"it has {len(self._inputs)} inputs, and {len(given)} are given")
        for tensor, batch in zip(given, self._batches, strict=True):
            if isinstance(batch, int) and tensor.ndim and len(tensor) != batch:
                raise ValueError(f'the file takes {batch} tiles at a time: "batch": {batch}')
        arrays = {name: _array(tensor) for name, tensor in zip(self._inputs, given, strict=True)}
        answers = NamedAnswers()
        for name, value in zip(self._outputs, self._session.run(None, arrays), strict=True):
            if isinstance(value, np.ndarray):
                answers[name] = torch.from_numpy(value).to(self._device.torch)
        return answers


def _array(tensor: Tensor) -> Any:
    return tensor.contiguous().cpu().numpy()
