"""Writes a folder with an algorithm that works at once, to be changed into one's own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from slidelane.commands.worker_process import CommandError

OUTPUTS: Final[dict[str, tuple[str, ...]]] = {
    "weights": ("tiles", "mask", "objects", "embeddings", "slide"),
    "python": ("objects", "tiles", "mask", "embeddings", "report"),
    "command": ("report",),
    "container": ("report",),
}
"""What an algorithm of each kind can answer; the first is the default."""
_TEMPLATES: Final = Path(__file__).parent / "templates"
"""The programs in it end in `.txt`: they are no modules of ours, and need libraries of a worker."""
_MAKE_S: Final = 300.0
_BUILDERS: Final = ("podman", "docker")
_WHAT: Final = {
    "weights": "`model.json` says what the network is given and what it answers; "
    "`make_network.py` made it.",
    "python": "`algorithm.py` holds the code and its card, which says what the code is given.",
    "command": "`main.py` is the program; its environment says what to do, as at Techcyte, and "
    "it posts what it finds. `program.json` says how it is started.",
    "container": "`main.py` is the program in the image that `Dockerfile` describes; its "
    "environment says what to do, as at Techcyte, and it posts what it finds. `program.json` "
    "names the image.",
}
_PROGRAM: Final = "program.json"
"""The file by which a folder with a program is known: the entry as in the settings."""


def write_algorithm(folder: Path, kind: str, output: str) -> dict[str, Any]:
    """Write the folder and return its entry for `worker.algorithms`, by name.

    A folder that cannot be finished is removed. Raise `CommandError` where it is not empty, or
    cannot be written, or the network cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} exists already; name a folder that is new or empty")
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        entry = _write(folder.resolve(), kind, output)
    except OSError as error:
        raise CommandError(f"{folder} cannot be written ({error.strerror})") from None
    except BaseException:
        _remove(folder, keep=existed)
        raise
    return entry


def _write(folder: Path, kind: str, output: str) -> dict[str, Any]:
    templates = _TEMPLATES / kind
    shutil.copyfile(templates / "test_algorithm.py.txt", folder / "test_algorithm.py")
    if kind in ("command", "container"):
        own = _write_program(folder, kind)
    elif kind == "weights":
        _write_network(folder, templates, output)
        own = {"kind": "weights", "folder": str(folder)}
    else:
        shutil.copyfile(templates / f"algorithm_{output}.py.txt", folder / "algorithm.py")
        name = "Algorithm"
        if output == "report":
            name = "process_image"
        own = {"kind": "python", "entry": f"{folder / 'algorithm.py'}:{name}"}
    entry = {_name(folder): own}
    readme = _readme(folder, own)
    readme = readme.replace("WHAT", _WHAT[kind]).replace("ENTRY", config_text(entry))
    (folder / "README.md").write_text(readme)
    return entry


def _write_program(folder: Path, kind: str) -> dict[str, Any]:
    """Write a program, and what its image is made of; return its entry."""
    shutil.copyfile(_TEMPLATES / "command" / "main.py.txt", folder / "main.py")
    command = [sys.executable, "./main.py"]
    own: dict[str, Any] = {"kind": "command", "command": command}
    if kind == "container":
        shutil.copyfile(_TEMPLATES / kind / "Dockerfile.txt", folder / "Dockerfile")
        own = {"kind": "container", "image": f"{_name(folder)}:1"}
    (folder / _PROGRAM).write_text(json.dumps(own, indent=2) + "\n")
    if kind == "command":
        own = {**own, "command": [sys.executable, str(folder / "main.py")]}
    return own


def _readme(folder: Path, own: Mapping[str, Any]) -> str:
    """Return the README with the folder's name, but for what the algorithm is."""
    if "image" not in own:
        readme = (_TEMPLATES / "README.md").read_text()
        return readme.replace("NAME", folder.name).replace("DIR", str(folder))
    readme = (_TEMPLATES / "container" / "README.md").read_text()
    readme = readme.replace("NAME", folder.name).replace("DIR", str(folder))
    readme = readme.replace("IMAGE_FILE", "SLIDE").replace("IMAGE", str(own["image"]))
    engine = next(filter(shutil.which, _BUILDERS), _BUILDERS[0])
    return readme.replace("ENGINE", engine)


def _write_network(folder: Path, templates: Path, output: str) -> None:
    """Write the model file, the program that makes the network, and the network.

    The network is made in a process of its own: the command line does not load torch.
    """
    shutil.copyfile(templates / f"model_{output}.json", folder / "model.json")
    shutil.copyfile(templates / f"make_network_{output}.py.txt", folder / "make_network.py")
    if output == "slide":
        (folder / "encoder").mkdir()
        shutil.copyfile(templates / "model_embeddings.json", folder / "encoder" / "model.json")
    command = [sys.executable, "-W", "ignore", str(folder / "make_network.py")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MAKE_S, check=False)
    except subprocess.TimeoutExpired:
        raise CommandError(f"the network was not made within {_MAKE_S:g} s") from None
    if done.returncode:
        last_line = done.stderr.strip().rpartition("\n")[2]
        raise CommandError(f"the network cannot be made here, it needs torch: {last_line}")


def config_text(entry: dict[str, Any]) -> str:
    """Return the entry as it stands in config.json."""
    return json.dumps({"worker": {"algorithms": entry}}, indent=2)


def _name(folder: Path) -> str:
    """Return a name under which the algorithm can be ordered, made from that of its folder."""
    letters = [character if character.isalnum() else "-" for character in folder.name.lower()]
    name = "".join(letters).encode("ascii", "ignore").decode().strip("-")
    if not name or not name[0].isalpha():
        name = f"algorithm-{name}".rstrip("-")
    return name[:64]


def _remove(folder: Path, *, keep: bool) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if keep:
        folder.mkdir(exist_ok=True)
