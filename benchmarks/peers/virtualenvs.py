"""Makes the virtual environments of the peers below `.bench/`, named by a hash of their packages.

PyTorch is installed first and alone, so that all run the same version. What would install another
is installed without its dependencies.
"""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import ROOT

CACHE = ROOT / ".bench"
TORCH = "torch==2.13.0"
TORCHVISION = "torchvision==0.28.0"
"""Of this PyTorch; its wheel requires the CUDA build."""


@dataclass(frozen=True, slots=True)
class Virtualenv:
    """`needs` are installed with dependencies, `alone` without: they require another PyTorch."""

    name: str
    needs: tuple[str, ...]
    alone: tuple[str, ...] = ()


PLAIN = Virtualenv(
    "plain",
    (
        "numpy==2.4.6",
        "pillow==13.0.0",
        "openslide-python==1.4.7",
        "openslide-bin==4.0.1.2",
        "simplejpeg==1.9.0",
    ),
)
WSINFER = Virtualenv(
    "wsinfer",
    (
        "numpy==2.4.6",
        "pillow==13.0.0",
        "openslide-python==1.4.7",
        "openslide-bin==4.0.1.2",
        "click>=8.2,<9",
        "h5py",
        "huggingface-hub",
        "jsonschema",
        "opencv-python-headless<5",
        "pandas<3",
        "pyyaml",
        "requests",
        "shapely",
        "tabulate",
        "tifffile",
        "tiffslide<3",
        "tqdm",
        "scikit-image",
        "zarr<3",
        "numcodecs<0.16",  # it imports what zarr 3 no longer has
    ),
    (TORCHVISION, "wsinfer==0.6.1", "wsinfer-zoo==0.6.3"),
)
# Without its dependencies cuCIM reads on the CPU; with them it brings CuPy and 1 GB of CUDA.
MONAI = Virtualenv(
    "monai", ("numpy==2.4.6", "click", "lazy-loader"), ("monai==1.6.1", "cucim-cu12==26.10.0")
)
TIATOOLBOX = Virtualenv(
    "tiatoolbox",
    (
        "numpy<2.4.4",
        "aiohttp",
        "click",
        "dask<2026.7.1",
        "defusedxml",
        "filelock",
        "fsspec",
        "glymur<0.14.8",
        "huggingface-hub<1.24",
        "imagecodecs<2026.3.6",
        "joblib",
        "matplotlib<3.11.1",
        "numba<0.66",
        "opencv-python-headless<5",
        "openslide-python==1.4.3",
        "openslide-bin==4.0.1.1",
        "pandas<3.0.3",
        "pillow<12.2",
        "psutil",
        "pydicom<3.0.2",
        "pyyaml",
        "requests",
        "s3fs<2026.6",
        "safetensors",
        "scikit-image<0.26.1",
        "scikit-learn<1.9",
        "scipy<1.17.1",
        "shapely<=2.1.2",
        "SimpleITK<2.5.5",
        "tifffile<2026.3.3",
        "tqdm<4.69",
        "transformers<5.14.1",
        "typing-extensions",
        "umap-learn<0.5.12",
        "universal-pathlib",
        "wsidicom<0.34",
        "zarr<3.2",
    ),
    (TORCHVISION, "timm<1.0.28", "tiatoolbox==2.1.3"),
)


def python_of(virtualenv: Virtualenv, report: Callable[[str], None]) -> Path:
    """Return its interpreter; make it first where it is missing. Raise `RuntimeError`."""
    written = repr((sys.version_info[:2], TORCH, virtualenv)).encode()
    folder = CACHE / f"{virtualenv.name}-{hashlib.sha256(written).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        report(f"installing {virtualenv.name} into {folder.relative_to(ROOT)}")
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _pip(python, TORCH)
        _pip(python, *virtualenv.needs)
        if virtualenv.alone:
            _pip(python, "--no-deps", *virtualenv.alone)
        ready.touch()
    return python


def _pip(python: Path, *what: str) -> None:
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[:6])} … ended with {done.returncode}\n{done.stderr[-1500:]}"
        )
