"""`python -m tests.support.rootless_container FOLDER`: run a container as an ordinary user.

Prints one line of JSON about it, or `{"skip": REASON}`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.own_podman import IMAGE, SHELL, OwnPodman
from tests.support.programs import command_run, exit_code
from worker.programs.engines.containers import PodmanIsolation
from worker.programs.engines.engine import ImageEngine
from worker.programs.interface import Address

_SCRIPT = "cat /proc/net/dev; echo x > /tmp/y; exit 3"


def main(folder: Path) -> dict[str, Any]:
    """Return what a container has printed, and what is left of it."""
    for variable in ("HOME", "XDG_RUNTIME_DIR"):
        path = folder / variable
        path.mkdir(mode=0o700)
        os.environ[variable] = str(path)
    own = OwnPodman(folder, hides_hybrid=False)
    os.environ.update(own.environment)
    try:
        own.make_image()
    except subprocess.CalledProcessError as error:
        return {"skip": error.stderr.decode()}
    isolation = PodmanIsolation(ImageEngine("podman", own.program))
    scratch = folder / "scratch"
    run = command_run(
        scratch, ["-c", _SCRIPT, SHELL], image=IMAGE, listen=(Address("127.66.0.17", 443),)
    )
    program = isolation.start(run)
    code = exit_code(program)
    for listener in program.listeners:
        listener.close()
    lines = program.output_path.read_text().splitlines()
    return {
        "own_network": isolation.has_own_network,
        "exit_code": code,
        "interfaces": [line.split(":")[0].strip() for line in lines if ":" in line],
        "left": sorted(path.name for path in scratch.iterdir()),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
