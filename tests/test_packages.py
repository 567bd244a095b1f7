"""Each package starts without the libraries of the others; modules and tests keep their form."""

import ast
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.paths import ROOT

PACKAGES = {
    "broker": ("fastapi", "torch", "openslide", "numpy", "requests", "services", "worker"),
    # numpy comes with shapely, which one module uses; import-linter sees that no other does.
    "services": ("torch", "openslide", "requests", "worker"),
    "worker": ("fastapi", "services"),
    "slidelane": ("fastapi", "torch", "openslide", "numpy", "requests", "services", "worker"),
}
_IMPORT_ALL = """
import importlib, pathlib, socket, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
def refuse(*a, **k): raise AssertionError("a socket was opened at import")
socket.socket.connect = refuse
for file in sorted(pathlib.Path({package!r}).rglob("*.py")):
    name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    if not name.endswith("__main__"):
        importlib.import_module(name)
assert "torch" not in sys.modules or {package!r} == "worker"
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_starts_without_the_others_libraries(package: str) -> None:
    """A package imports nothing that its image lacks, and importing opens no socket."""
    code = _IMPORT_ALL.format(absent=PACKAGES[package], package=package)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        check=True,
        env={"SLIDELANE_CONFIG": "/nowhere"},
    )


def test_the_courier_never_loads_torch() -> None:
    """Fetching and delivering need no classifier; only a process that classifies loads torch."""
    code = (
        "import sys, worker.tasks, worker.stages, worker.delivery.deliver_order\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_only_the_viewer_loads_an_http_server() -> None:
    """What classifies, fetches and delivers listens to nobody."""
    code = (
        "import sys, worker.tasks, worker.celery_worker, worker.diagnostics.doctor\n"
        "assert not {'starlette', 'uvicorn', 'worker.viewer'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_viewer_loads_no_model_and_no_redis() -> None:
    """It reads slides that nobody vouches for, so it holds nothing else worth having."""
    code = (
        "import sys, worker.viewer.__main__\n"
        "loaded = {'torch', 'redis', 'celery', 'fastapi', 'requests', 's3fs'} & sys.modules.keys()\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    """A longer file does more than one thing; below that, its length is a matter of judgement."""
    long_files = [
        file
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if len(file.read_text().splitlines()) > 400
    ]
    assert long_files == []


def test_every_test_states_its_fact() -> None:
    """Every test has a docstring, so the suite can be read as a specification."""
    without_docstring = [
        f"{file.name}:{node.name}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert without_docstring == []


def test_no_two_files_of_tests_have_the_same_name() -> None:
    """pytest imports them by name alone: the second one of a run is not collected."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
