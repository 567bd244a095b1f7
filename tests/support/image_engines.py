"""A small container engine for tests of images: a script in place of podman or docker."""

import shutil
from pathlib import Path
from typing import Final

# The last word is the image. `image inspect` knows those that are files in IMAGES, by their name
# with _ for / and :. `pull` makes one, unless its name holds "missing".
_SCRIPT: Final = """#!/bin/sh
for image; do :; done
file=IMAGES/$(echo "$image" | tr '/:' '__')
case "$1 $image" in
  version*) echo 5.0.0 ;;
  image*) if [ -e "$file" ]; then echo DIGEST; exit 0; fi
    echo "Error: $image: image not known" >&2; exit 125 ;;
  pull*missing*) echo "Trying to pull $image" >&2; echo "Error: manifest unknown" >&2; exit 125 ;;
  pull*) echo > "$file"; echo DIGEST ;;
  *) echo "Error: the script does not know $1" >&2; exit 2 ;;
esac
"""
DIGEST: Final = "5a" * 32


def an_engine(folder: Path, name: str = "podman") -> Path:
    """Make a folder for PATH in which `name` is a small engine that begins without images."""
    programs = folder / "bin"
    images = folder / "images"
    images.mkdir(parents=True)
    programs.mkdir()
    script = programs / name
    script.write_text(_SCRIPT.replace("IMAGES", str(images)).replace("DIGEST", DIGEST))
    script.chmod(0o755)
    tools = shutil.which("tr")
    assert tools
    (programs / "tr").symlink_to(tools)
    return programs
