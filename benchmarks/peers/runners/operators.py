"""torchvision beside a PyTorch for CPUs: its wheel is built for CUDA, so two operators are missing."""

import torch

_MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float t) -> Tensor",
)


def register() -> None:
    """Name them, so that torchvision can be imported; none of what runs here calls them."""
    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for schema in _MISSING:
            library.define(schema)
        _kept.append(library)


_kept: list[torch.library.Library] = []  # an operator goes with its library
