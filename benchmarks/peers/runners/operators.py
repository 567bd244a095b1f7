"""Lets torchvision, whose wheel is built for CUDA, be imported with a PyTorch for CPUs."""

import torch

_MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float t) -> Tensor",
)


def register() -> None:
    """Define the two operators that are missing; no benchmark calls them."""
    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for schema in _MISSING:
            library.define(schema)
        _libraries.append(library)


# An operator is removed together with its library.
_libraries: list[torch.library.Library] = []
