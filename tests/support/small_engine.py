#!/usr/bin/env python3
"""An engine of the tests that takes podman's command line, and runs commands of this machine.

An image is a file NAME.json in the folder of `SMALL_ENGINE`, with the command that it runs. A
container is a process whose state lies beside it. What cannot be isolated in this way is not: there
are no file systems of containers. It is copied to a folder as `podman` and made executable.
"""

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

FOLDER = Path(os.environ["SMALL_ENGINE"])
WITH_VALUE = [
    "--name",
    "--network",
    "--stop-timeout",
    "--label",
    "--add-host",
    "--env-file",
    "--env",
    "--mount",
    "--security-opt",
    "--cap-drop",
    "--cap-add",
]
ANSWERS = {"version": "1.2.3", "network": "127.0.0.1"}
"""The network is asked for the address of this machine in it."""


def main() -> int:
    """Do what the first word says."""
    if (FOLDER / "unreachable").exists():
        return fail("Cannot connect to the engine at unix:///run/engine.sock. Is it running?")
    verb, *words = sys.argv[1:]
    if verb in ANSWERS:
        print(ANSWERS[verb])
    elif verb == "image":
        return inspect_image(words[-1])
    elif verb == "run":
        return run(words)
    elif verb == "rm":
        remove(words[-1])
    elif verb == "ps":
        print("\n".join(file.name.removesuffix(".state") for file in FOLDER.glob("*.state")))
    elif verb == "inspect":
        labels = state(words[-1])["labels"]
        print(labels["slidelane.owner"], labels["slidelane.ends"])
    else:
        return fail(f"unknown command {verb}")
    return 0


def fail(text: str) -> int:
    """Print why, as engines do."""
    print(f"Error: {text}", file=sys.stderr)
    return 125


def state(name: str) -> dict:
    """Return what is known of a container."""
    return json.loads((FOLDER / f"{name}.state").read_text())


def inspect_image(image: str) -> int:
    """Print a digest, if there is the image."""
    if not (FOLDER / f"{image}.json").exists():
        return fail(f"{image}: image not known")
    print(f"registry.example/{image}@sha256:{'1' * 64} {'2' * 64}")
    return 0


def run(words: list[str]) -> int:
    """Start a container in a process of its own, and end as it does."""
    (FOLDER / "argv.json").write_text(json.dumps(words))
    options: dict[str, list[str]] = {}
    position = 0
    while words[position].startswith("--"):
        name, equals, value = words[position].partition("=")
        if not equals and name in WITH_VALUE:
            position += 1
            value = words[position]
        options.setdefault(name, []).append(value)
        position += 1
    image, *arguments = words[position:]
    environment = {"PATH": os.environ["PATH"]}
    for line in Path(options["--env-file"][0]).read_text().splitlines():
        name, _, value = line.partition("=")
        environment[name] = value
    for name in options.get("--env", []):
        environment[name] = os.environ[name]
    command = json.loads((FOLDER / f"{image}.json").read_text())
    name = options["--name"][0]
    container = os.fork()
    if container == 0:
        os.setsid()
        network = options["--network"][0]
        if network.startswith("ns:"):
            descriptor = os.open(network.removeprefix("ns:"), os.O_RDONLY)
            assert ctypes.CDLL(None).setns(descriptor, 0) == 0
        os.execvpe(command[0], [*command, *arguments], environment)  # noqa: S606
    labels = dict(label.split("=", 1) for label in options["--label"])
    (FOLDER / f"{name}.state").write_text(json.dumps({"pid": container, "labels": labels}))
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(container, number))
    _, status = os.waitpid(container, 0)
    (FOLDER / f"{name}.state").unlink(missing_ok=True)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def remove(name: str) -> None:
    """End a container, and forget it."""
    file = FOLDER / f"{name}.state"
    if not file.exists():
        return
    with suppress(ProcessLookupError):
        os.killpg(state(name)["pid"], signal.SIGKILL)
    file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
