"""podman with images and containers of its own, apart from those of the machine."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

IMAGE = "slidelane-program"
SHELL = "bash"
_TOOLS = (SHELL, "cat", "sleep", "id", "ls")
"""Programs of this machine from which the image is made."""

HYBRID = Path("/sys/fs/cgroup/unified")
_WRAPPER = f"""#!/bin/sh
exec unshare --mount sh -c 'umount {HYBRID}; exec podman "$@"' podman "$@"
"""
_CONTAINERS = """
[containers]
cgroups="disabled"
default_ulimits=["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager="cgroupfs"
events_logger="none"
"""
"""Tests need no limits by cgroups, and so no rights on them."""


class OwnPodman:
    """podman with its files in `folder`. `program` is what is to be called."""

    def __init__(self, folder: Path, *, hides_hybrid: bool = True) -> None:
        self.folder = folder
        self.program = "podman"
        if hides_hybrid and HYBRID.exists():
            # crun refuses a tree of cgroups of both versions. Each call gets one of one version.
            wrapper = folder / "podman"
            wrapper.write_text(_WRAPPER)
            wrapper.chmod(0o755)
            self.program = str(wrapper)
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver="vfs"\ngraphroot="{folder}/graph"\nrunroot="{folder}/run"\n'
        )
        (folder / "containers.conf").write_text(_CONTAINERS)
        self.environment = {
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
            "CONTAINERS_CONF": f"{folder}/containers.conf",
        }

    def call(self, *words: str) -> str:
        """Return what podman prints. Raise CalledProcessError where it fails."""
        done = subprocess.run(
            [self.program, *words],
            env={**os.environ, **self.environment},
            capture_output=True,
            check=True,
            timeout=120,
        )
        return done.stdout.decode()

    def make_image(self) -> None:
        """Make an image that runs a shell."""
        _write_image(self.folder / "image.tar")
        entry = json.dumps([f"/bin/{SHELL}"])
        self.call("import", "--change", f"ENTRYPOINT {entry}", f"{self.folder}/image.tar", IMAGE)


def _write_image(archive: Path) -> None:
    """Write a file system that holds a few programs of this machine and their libraries."""
    files = set()
    for name in _TOOLS:
        program = Path(shutil.which(name) or "").resolve()
        files.add((f"bin/{name}", program))
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
        for word in listed.stdout.split():
            if word.startswith("/"):
                files.add((word.lstrip("/"), Path(word).resolve()))
    with tarfile.open(archive, "w") as tar:
        for folder in ("tmp", "etc", "root"):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777
            tar.addfile(entry)
        for name, path in sorted(files):
            tar.add(path, name, filter=_of_root)


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Give a file to root, the only user that every container has."""
    entry.uid = 0
    entry.gid = 0
    return entry
