"""A trained network on one device: tiles in, what it answers out, by role."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.algorithms.answer_error import (
    AlgorithmAnswerError,
    AlgorithmRaisedError,
    last_line,
)
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.model_folder.model_file import ObjectsModel, TileModel
from worker.algorithms.model_folder.roles import needed_roles, roles_of
from worker.algorithms.networks.onnx_network import NamedAnswers
from worker.algorithms.networks.preprocessing import Preprocessing
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import is_short_of_memory
from worker.geometry.frame import Pixels


class Network:
    """A loaded network on one device, in one precision. Threads may share it."""

    def __init__(self, run: Callable[..., Any], model: TileModel, device: Device) -> None:
        self._run = run
        self._model = model
        self._device = device
        self._roles = roles_of(model)
        self._needed = needed_roles(model)
        self._takes_list = isinstance(model, ObjectsModel) and model.batch_form == "list"

    def answers(self, batch: Pixels, prepare: Preprocessing) -> Answers:
        """Return what the network answers for N tiles (N, E, E, 3), by role, on its device.

        Must be called within a turn of the device and in inference mode. A network of a fixed batch
        gets copies of the last tile besides; their answers are left out.

        Raises AlgorithmRaisedError for an error inside of the network, AlgorithmAnswerError where
        it does not answer N times.
        """
        tiles = len(batch)
        samples = prepare(self._filled(batch))
        try:
            if self._takes_list:
                answer = self._run(list(samples))
            else:
                answer = self._run(samples)
        except Exception as error:
            if is_short_of_memory(error):
                raise
            raise AlgorithmRaisedError(last_line(error)) from error
        if self._takes_list:
            roles = self._of_list(answer)
        else:
            roles = by_role(answer, self._roles, self._needed)
        found = {}
        for role, value in roles.items():
            found[role] = self._of_tiles(role, value, len(samples), tiles)
        return found

    def _filled(self, batch: Pixels) -> Pixels:
        """Return the batch, with copies of its last tile where the network takes a fixed number."""
        missing = (self._model.batch or 0) - len(batch)
        if missing <= 0:
            return batch
        return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])

    def _of_list(self, answer: Any) -> dict[str, Any]:
        """Return the roles of a list of dictionaries, one for each tile, as lists.

        A scripted network answers its losses before them.
        """
        if isinstance(answer, tuple) and len(answer) == 2:
            answer = answer[1]
        if not isinstance(answer, Sequence):
            raise AlgorithmAnswerError(
                f"outputs is a {type(answer).__name__}; batch_form list needs a list of "
                "dictionaries"
            )
        found: dict[str, list[Any]] = {role: [] for role in self._roles}
        for detections in answer:
            if not isinstance(detections, Mapping):
                raise AlgorithmAnswerError(
                    f"outputs holds a {type(detections).__name__}; batch_form list needs a list "
                    "of dictionaries"
                )
            for role, values in found.items():
                values.append(_entry(detections, role, self._roles[role], self._needed))
        return {
            role: values
            for role, values in found.items()
            if all(value is not None for value in values)
        }

    def _of_tiles(self, role: str, value: Any, given: int, tiles: int) -> Any:
        """Return the answers of the first `tiles` of the tiles given, on the network's device."""
        if isinstance(value, list):
            if len(value) != given:
                raise AlgorithmAnswerError(
                    f"outputs.{role} has {len(value)} entries for a batch of {given} tiles"
                )
            return [one.to(self._device.torch) for one in value[:tiles]]
        shape = tuple(value.shape)
        if not shape or shape[0] != given:
            raise AlgorithmAnswerError(
                f"outputs.{role} has shape {shape} for a batch of {given} tiles; its first number "
                f"must be {given}"
            )
        return value[:tiles].to(self._device.torch)


def by_role(
    answer: Any, roles: Mapping[str, int | str], needed: Sequence[str]
) -> dict[str, Tensor]:
    """Return the tensors of an answer by role.

    `answer` is a tensor, a tuple or list of tensors, or a dictionary of them. `roles` says where in
    it each role is. Raises AlgorithmAnswerError where a needed one is missing or is no tensor.
    """
    found = {}
    for role, place in roles.items():
        value = _place(answer, role, place)
        if value is None:
            if role in needed:
                raise AlgorithmAnswerError(
                    f"outputs.{role} is {place!r}, and the network answers {_described(answer)}"
                )
            continue
        if not isinstance(value, Tensor):
            raise AlgorithmAnswerError(
                f"outputs.{role} is a {type(value).__name__}, and a tensor is needed"
            )
        _check_is_dense(role, value)
        found[role] = value
    return found


def _check_is_dense(role: str, value: Tensor) -> None:
    """Raise AlgorithmAnswerError for a tensor whose numbers cannot be read one by one."""
    kind = ""
    if value.is_meta:
        kind = "on the device meta, without numbers"
    elif value.layout != torch.strided:
        kind = "sparse"
    elif value.is_quantized:
        kind = "quantized"
    if kind:
        raise AlgorithmAnswerError(f"outputs.{role} is a tensor {kind}; a dense one is needed")


def _place(answer: Any, role: str, place: int | str) -> Any:
    """Return what stands at this place of the answer, or None."""
    if isinstance(answer, Tensor):
        if place == 0:
            return answer
        return None
    if isinstance(answer, NamedAnswers) and isinstance(place, int):
        answer = tuple(answer.values())
    if isinstance(answer, Mapping):
        if isinstance(place, str):
            return answer.get(place)
        return answer.get(role)
    is_number = isinstance(place, int)
    if isinstance(answer, tuple | list) and is_number and int(place) < len(answer):
        return answer[int(place)]
    return None


def _entry(
    detections: Mapping[Any, Any], role: str, place: int | str, needed: Sequence[str]
) -> Any:
    """Return one role of the dictionary of one tile; its name is the role's unless stated."""
    name = role
    if isinstance(place, str):
        name = place
    value = detections.get(name)
    if value is None and role not in needed:
        return None
    if not isinstance(value, Tensor):
        raise AlgorithmAnswerError(
            f"outputs.{role} is {name!r}, and the network answers {_described(detections)}"
        )
    _check_is_dense(role, value)
    return value


def _described(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"one tensor of shape {tuple(answer.shape)}"
    if isinstance(answer, Mapping):
        keys = ", ".join(repr(key)[:50] for key in list(answer)[:20])
        return f"a dictionary of {keys}"
    if isinstance(answer, tuple | list):
        return f"a {type(answer).__name__} of {len(answer)}"
    return f"a {type(answer).__name__}"
