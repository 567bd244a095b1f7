"""Where the pixels of an answer lie in the tile that a network was given."""

from worker.algorithms.answer_error import AlgorithmAnswerError


def crop_px(role: str, shape: tuple[int, ...], input_px: int, output_stride: int) -> int:
    """Return by how many input pixels on each side the answer is smaller than the tile.

    `shape` ends in the answer's height and width; a pixel of the answer stands for `output_stride`
    pixels of the tile, whose edge is `input_px`.

    Raises AlgorithmAnswerError where the answer is no square, or not in the middle of the tile.
    """
    height, width = shape[-2:]
    covered_px = width * output_stride
    if height != width or covered_px > input_px or (input_px - covered_px) % 2:
        raise AlgorithmAnswerError(
            f"outputs.{role} has shape {shape}: its last two numbers must be equal, and "
            f"{output_stride} times as much must leave an even number of the tile's "
            f"{input_px} pixels"
        )
    return (input_px - covered_px) // 2
