"""`python -m worker.diagnostics.doctor`: check that this machine has what a worker needs.

Prints rows of JSON, which `slidelane doctor` shows. Redis and orders are not checked here.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from broker.diagnostics import Row
from broker.settings.config import Config, load
from worker.algorithms import registry
from worker.algorithms.check import one_line
from worker.diagnostics.connectivity import check_hosts
from worker.diagnostics.programs import check_programs
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
from worker.slides.sandbox.confinement.confine import granted_confinement

_EDGE_PX = 512
_TILE_PX = 256
_MPP = 0.25


def main() -> None:
    """Print the rows of each check as soon as it is done."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.diagnostics.doctor", description=__doc__
    )
    parser.add_argument("--in-container", action="store_true")
    parser.add_argument("--require-gpu", action="store_true")
    parser.add_argument(
        "--machine-only", action="store_true", help="workers that run have told the rest"
    )
    parser.add_argument("--destination", action="append", default=[])
    options = parser.parse_args()
    # An exit instead of a sudden end, so that the processes of a check are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    config = load()
    _print_rows("cores", _cores(config))
    _print_rows("memory", _memory(config))
    _print_rows("gpu", _gpu(config, required=options.require_gpu))
    _print_rows("openslide", _openslide(config))
    _print_rows("decoder", _decoder())
    _print_rows("programs", check_programs())
    if not options.machine_only:
        _print_rows("models", _models(config))
        _print_rows("slides", _slides(config))
    _print_rows("destination", check_hosts(config, options.destination))
    if options.in_container:
        from worker.diagnostics import container_checks

        _print_rows("spawn", container_checks.spawn())
        _print_rows("drain", container_checks.drain(config))


def _print_rows(what: str, rows: Iterable[Row]) -> None:
    """Run one check by iterating over its rows; an exception becomes a failed row."""
    try:
        for row in rows:
            _print(row)
    except Exception as error:  # noqa: BLE001 - the edge: any failure is the result of the check
        _print(Row(what, "failed", " ".join(str(error).split()) or type(error).__name__))


def _print(row: Row) -> None:
    sys.stdout.write(f"{row.json}\n")
    sys.stdout.flush()


def _cores(config: Config) -> Iterator[Row]:
    text = f"{granted_cores()} granted: affinity leaves {usable_cores()}, {_text(core_limits())}"
    if config.worker.threads:
        text += f"; worker.threads makes it {config.worker.threads}"
    yield Row("cores", "ok", text)


def _memory(config: Config) -> Iterator[Row]:
    granted_bytes = granted_memory_bytes()
    decode_bytes = config.worker.limits.decode_bytes
    text = f"{_gib(granted_bytes)} granted: {_text(memory_limits())}"
    if granted_bytes < decode_bytes:
        text += (
            f"; less than worker.limits.decode_bytes ({_gib(decode_bytes)}), "
            "so a large slide may end the whole worker"
        )
    yield Row("memory", "ok", text)


def _text(limits: list[Limit]) -> str:
    """Return the content of the kernel's files."""
    if not limits:
        return "no cgroup says anything"
    return ", ".join(f"{limit.file} says {limit.text}" for limit in limits)


def _gpu(config: Config, *, required: bool) -> Iterator[Row]:
    from worker.algorithms.torch_device.gpu_check import torch_version, trials

    for trial in trials(config.worker.device):
        text = trial.name
        if trial.memory_bytes:
            text += f" with {_gib(trial.memory_bytes)}"
        text += f", 1000x1000 matmul in {1000 * trial.matmul_s:.3f} ms ({torch_version()})"
        if not trial.is_right:
            yield Row("gpu", "failed", f"{text}, and the product is wrong")
        elif trial.is_gpu:
            yield Row("gpu", "ok", text)
        elif required:
            yield Row("gpu", "failed", f"none is seen; {text}")
        else:
            yield Row("gpu", "absent", f"none is seen; {text}")


def _openslide(config: Config) -> Iterator[Row]:
    """Make a slide and read a region of it as every slide is read."""
    pixels = np.random.default_rng(0).integers(0, 256, (_EDGE_PX, _EDGE_PX, 3), np.uint8)
    limits = config.worker.limits
    began_at = time.monotonic()
    sandbox = Sandbox(
        config.worker.threads or granted_cores(),
        max_bytes=limits.decode_bytes,
        read_s=limits.decode_s,
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial.svs"
        _write_slide(path, pixels)
        with sandbox.open(path) as slide:
            region = np.empty((64, 64, 3), np.uint8)
            slide.fill(region, 100.0, 200.0, 1.0, 1.0)
            reader = slide.reader
    took_s = time.monotonic() - began_at
    text = f"{reader} read a slide in a process of its own in {took_s:.1f} s"
    text += f" (openslide-python {version('openslide-python')})"
    if (region == pixels[200:264, 100:164]).all():
        yield Row("openslide", "ok", text)
    else:
        yield Row("openslide", "failed", f"{text}, and its pixels are wrong")


def _decoder() -> Iterator[Row]:
    """Say what the kernel keeps the processes from that read slides."""
    granted = granted_confinement()
    if granted.is_complete:
        yield Row("decoder", "ok", f"confined by {granted}")
    else:
        yield Row("decoder", "absent", f"{granted}; see docs/security.md")


def _write_slide(path: Path, pixels: np.ndarray) -> None:
    import tifffile

    size = f"{_EDGE_PX}x{_EDGE_PX} ({_TILE_PX}x{_TILE_PX})"
    tifffile.imwrite(
        path,
        pixels,
        tile=(_TILE_PX, _TILE_PX),
        photometric="rgb",
        description=f"Aperio Image Library v12\r\n{size}|AppMag = 40|MPP = {_MPP}",
        metadata=None,
    )


def _models(config: Config) -> Iterator[Row]:
    settings = config.worker
    names = []
    faults = []
    for name in settings.algorithms:
        try:
            algorithm = registry.load(
                name, settings.algorithms, {}, settings.device, max_batch_bytes=MAX_BATCH_BYTES
            )
        except Exception as error:  # noqa: BLE001 - one wrong algorithm does not hide the others
            faults.append(f"{name} is unavailable: {one_line(error)}")
        else:
            names.append(f"{algorithm.card.name} {algorithm.card.version}")
    text = "; ".join([f"loaded: {', '.join(names) or 'none'}", *faults])
    if faults:
        yield Row("models", "failed", text)
    else:
        yield Row("models", "ok", text)


def _slides(config: Config) -> Iterator[Row]:
    roots = config.worker.slides.roots
    missing = [str(root) for root in roots if not root.is_dir()]
    if missing:
        text = f"worker.slides.roots: {', '.join(missing)} cannot be seen here"
        yield Row("slides", "failed", text)
    elif roots:
        yield Row("slides", "ok", f"paths may lie below {', '.join(map(str, roots))}")
    else:
        yield Row("slides", "absent", "worker.slides.roots is empty: orders may name no paths")


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


if __name__ == "__main__":
    main()
