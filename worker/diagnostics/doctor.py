"""`python -m worker.diagnostics.doctor`: whether this bench has what it needs, as rows of JSON for `slidelane doctor`.

Owns what a worker needs. Must not know Redis, orders, nor how rows are shown.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from broker.diagnostics import Row
from broker.settings.config import Config, load
from worker.algorithms import registry
from worker.diagnostics.connectivity import reached
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.process.cgroup_limits import (
    Limit,
    core_limits,
    granted_cores,
    granted_memory_bytes,
    memory_limits,
    usable_cores,
)
from worker.slides.sandbox.client import Sandbox

_EDGE_PX, _TILE_PX, _MPP = 512, 256, 0.25
Check = Callable[[], Iterator[Row]]


def main() -> None:
    """Print a row for each check, as it is done."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.diagnostics.doctor", description=__doc__
    )
    parser.add_argument("--in-container", action="store_true")
    parser.add_argument("--require-gpu", action="store_true")
    parser.add_argument("--destination", action="append", default=[])
    asked = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that what a trial started is ended
    config = load()
    checks: dict[str, Check] = {
        "cores": lambda: _cores(config),
        "memory": lambda: _memory(config),
        "gpu": lambda: _gpu(config, required=asked.require_gpu),
        "openslide": lambda: _openslide(config),
        "models": lambda: _models(config),
        "slides": lambda: _slides(config),
        "destination": lambda: reached(config, asked.destination),
    }
    if asked.in_container:
        from worker.diagnostics import container_checks

        checks |= {"spawn": container_checks.spawn, "drain": lambda: container_checks.drain(config)}
    for what, check in checks.items():
        for row in _safely(what, check):
            sys.stdout.write(f"{row.json}\n")
            sys.stdout.flush()


def _safely(what: str, check: Check) -> Iterator[Row]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - the edge: whatever a check meets is what it found out
        yield Row(what, "failed", " ".join(str(error).split()) or type(error).__name__)


def _cores(config: Config) -> Iterator[Row]:
    threads, granted = config.worker.threads, granted_cores()
    used = f"; worker.threads makes it {threads}" if threads else ""
    yield Row(
        "cores",
        "ok",
        f"{granted} granted: affinity leaves {usable_cores()}, {_stated(core_limits())}{used}",
    )


def _memory(config: Config) -> Iterator[Row]:
    granted, decode = granted_memory_bytes(), config.worker.limits.decode_bytes
    said = f"{_gib(granted)} granted: {_stated(memory_limits())}"
    if granted < decode:
        said += f"; less than worker.limits.decode_bytes ({_gib(decode)}), so a large slide may end the whole worker"
    yield Row("memory", "ok", said)


def _stated(limits: list[Limit]) -> str:
    """The kernel's files as they stand."""
    return (
        ", ".join(f"{limit.file} says {limit.text}" for limit in limits)
        or "no cgroup says anything"
    )


def _gpu(config: Config, *, required: bool) -> Iterator[Row]:
    from worker.algorithms.torch_device.gpu_check import torch_version, trials

    for trial in trials(config.worker.device):
        memory = f" with {_gib(trial.memory_bytes)}" if trial.memory_bytes else ""
        said = f"{trial.name}{memory}, 1000x1000 matmul in {1000 * trial.matmul_s:.3f} ms ({torch_version()})"
        if not trial.is_right:
            yield Row("gpu", "failed", f"{said}, and the product is wrong")
        elif trial.is_gpu:
            yield Row("gpu", "ok", said)
        else:
            yield Row("gpu", "failed" if required else "absent", f"none is seen; {said}")


def _openslide(config: Config) -> Iterator[Row]:
    """A slide made on the spot, and read as every slide is."""
    import tifffile

    pixels = np.random.default_rng(0).integers(0, 256, (_EDGE_PX, _EDGE_PX, 3), np.uint8)
    described = f"Aperio Image Library v12\r\n{_EDGE_PX}x{_EDGE_PX} ({_TILE_PX}x{_TILE_PX})|AppMag = 40|MPP = {_MPP}"
    limits, began = config.worker.limits, time.monotonic()
    sandbox = Sandbox(
        config.worker.threads or granted_cores(),
        max_bytes=limits.decode_bytes,
        read_s=limits.decode_s,
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial.svs"
        tifffile.imwrite(
            path,
            pixels,
            tile=(_TILE_PX, _TILE_PX),
            photometric="rgb",
            description=described,
            metadata=None,
        )
        with sandbox.open(path) as slide:
            region = np.empty((64, 64, 3), np.uint8)
            slide.fill(region, 100.0, 200.0, 1.0, 1.0)
            reader, is_right = slide.reader, bool((region == pixels[200:264, 100:164]).all())
    took = f"read a slide in a process of its own in {time.monotonic() - began:.1f} s"
    said = f"{reader} {took} (openslide-python {version('openslide-python')})"
    yield Row(
        "openslide",
        "ok" if is_right else "failed",
        said if is_right else f"{said}, and its pixels are wrong",
    )


def _models(config: Config) -> Iterator[Row]:
    algorithms, device = config.worker.algorithms, config.worker.device
    cards = [
        registry.load(name, algorithms, {}, device, max_batch_bytes=MAX_BATCH_BYTES).card
        for name in algorithms
    ]
    yield Row(
        "models", "ok", f"loaded: {', '.join(f'{card.name} {card.version}' for card in cards)}"
    )


def _slides(config: Config) -> Iterator[Row]:
    roots = config.worker.slides.roots
    missing = [str(root) for root in roots if not root.is_dir()]
    if missing:
        yield Row(
            "slides", "failed", f"worker.slides.roots: {', '.join(missing)} cannot be seen here"
        )
    elif roots:
        yield Row("slides", "ok", f"paths may lie below {', '.join(map(str, roots))}")
    else:
        yield Row("slides", "absent", "worker.slides.roots is empty: orders may name no paths")


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


if __name__ == "__main__":
    main()
