"""Thousands of damaged slides: each must end in findings or an error, none may crash the worker.

`python -m tests.support.fuzz --files 2000 --seed 1` prints how they ended.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from tests.support.mirax import TILE_PX, a_mirax
from tests.support.slide_corpus import MIRAX, corpus
from tests.support.slides import a_picture
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import tile_grid
from worker.inference import parallel_tiles
from worker.slides.sandbox.client import Sandbox

READ_S = 10.0
MAX_BYTES = 2**31
CARD = AlgorithmCard(
    name="all",
    version="1",
    digest="0",
    title="",
    description="",
    output="objects",
    mpp=0.5,
    tile_px=256,
    halo_px=0,
    classes=(),
    parameters={},
)
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80")


def flipped(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Change some bits; half of the time among the first bytes, where the structure is."""
    damaged = bytearray(data)
    reach = min(len(data), 512) if rng.random() < 0.5 else len(data)
    for _ in range(2 ** rng.randrange(7)):
        damaged[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncated(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Remove the end."""
    return data[: rng.randrange(len(data))]


def spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Join the beginning of one file and the rest of another."""
    at = rng.choice([4, 8, 16, 132, 256, 1024, rng.randrange(len(data))])
    return data[:at] + other[at:]


def exaggerated(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Give fields of two, four or eight bytes an extreme value."""
    damaged = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        width = rng.choice([2, 4, 8])
        at = rng.randrange(max(1, min(len(data), rng.choice([64, 1024, len(data)])) - width))
        damaged[at : at + width] = rng.choice(EXTREMES) * width
    return bytes(damaged)


def repeated(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Repeat a part of the file."""
    start = rng.randrange(len(data))
    stop = min(len(data), start + 2 ** rng.randrange(12))
    return data[:stop] + data[start:]


DAMAGES: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    flipped,
    truncated,
    spliced,
    exaggerated,
    repeated,
)


@dataclass(frozen=True)
class Case:
    """One damaged file: its format, its damage, and its bytes."""

    format: str
    damage: str
    suffix: str
    content: bytes


def cases(count: int, seed: int) -> Iterator[Case]:
    """Yield `count` damaged files, every format and every damage in turn, the same for a seed."""
    files = corpus()
    names = sorted(files)
    for number in range(count):
        rng = random.Random(f"{seed}.{number}")
        name, damage = names[number % len(names)], DAMAGES[number // len(names) % len(DAMAGES)]
        content = damage(files[name], files[rng.choice(names)], rng)
        yield Case(name, damage.__name__, Path(name).suffix, content)


def outcome(case: Case, sandbox: Sandbox, folder: Path) -> str:
    """Return `findings`, or the error's code. Anything else is raised."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            _read_all(_write_case(case, Path(place)), sandbox)
        except OrderError as error:
            return _checked_code(error, folder)
    return "findings"


def _write_case(case: Case, folder: Path) -> Path:
    """Write the file, and the others of a slide of several undamaged. Return the one to open."""
    if case.format.startswith(MIRAX):
        main = a_mirax(folder, a_picture(TILE_PX, TILE_PX))
        (folder / case.format.removeprefix(MIRAX)).write_bytes(case.content)
        return main
    path = folder / f"slide{case.suffix}"
    path.write_bytes(case.content)
    return path


def _read_all(path: Path, sandbox: Sandbox) -> None:
    with sandbox.open(path, 0.5) as slide:
        grid = tile_grid(resolve_roi(None, slide.frame), slide.frame, CARD)
        for pixels in (batch.value for batch in parallel_tiles.map_tiles(slide, grid, 2, np.copy)):
            assert pixels.dtype == np.uint8


def _checked_code(error: OrderError, folder: Path) -> str:
    """Return the error's code, after checking that its message may be shown."""
    assert error.detail
    assert error.problem.blame == "input"
    assert str(folder) not in f"{error.detail} {error.hint}"
    return error.code


def run(
    count: int, seed: int, report: Callable[[int, Case, str, float], None]
) -> Counter[tuple[str, str]]:
    """Try `count` files. Return how often each format ended how."""
    ends: Counter[tuple[str, str]] = Counter()
    sandbox = Sandbox(1, max_bytes=MAX_BYTES, read_s=READ_S)
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(cases(count, seed)):
            start = time.monotonic()
            end = outcome(case, sandbox, Path(folder))
            ends[case.format, end] += 1
            report(number, case, end, time.monotonic() - start)
    return ends


def main() -> None:
    """Print how often each format ended how."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    slowest: list[Any] = [0.0, None]

    def report(number: int, case: Case, end: str, took_s: float) -> None:
        if took_s > slowest[0]:
            slowest[:] = [took_s, f"{case.format} {case.damage} -> {end}"]
        sys.stderr.write(f"\r{number + 1} of {arguments.files}")

    ends = run(arguments.files, arguments.seed, report)
    sys.stderr.write("\n")
    for (name, end), times in sorted(ends.items()):
        print(f"{name:28} {end:20} {times:6}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"seed {arguments.seed}; slowest {slowest[0]:.1f} s ({slowest[1]}); "
        f"most memory of a decoding process {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
