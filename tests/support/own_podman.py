"""podman with images and containers of its own, apart from those of the machine."""

import os
import subprocess
from pathlib import Path

_HYBRID = Path("/sys/fs/cgroup/unified")
_WRAPPER = f"""#!/bin/sh
exec unshare --mount sh -c 'umount {_HYBRID}; exec podman "$@"' podman "$@"
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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = "podman"
        if _HYBRID.exists():
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
