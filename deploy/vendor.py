"""Fetches the browser libraries of the page from npm, and writes what came into vendor.json.

    python3 deploy/vendor.py

Run it after a change of a version below. It needs npm; building, installing and running Slidelane
do not, since the files are part of the source.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "services" / "web" / "vendor"


@dataclass(frozen=True)
class Library:
    """One package of npm, and the files of it that the page loads."""

    package: str
    version: str
    licence: str
    purpose: str
    files: dict[str, str]
    """The name here, and the path in the package."""
    rewrite: dict[str, str] = field(default_factory=dict)
    """Text that is replaced in each file."""


LIBRARIES = (
    Library(
        "openseadragon",
        "6.1.1",
        "BSD-3-Clause",
        "pans and zooms the slide",
        {"openseadragon.js": "build/openseadragon/openseadragon.min.js"},
        {"//# sourceMappingURL=openseadragon.min.js.map": ""},
    ),
    Library(
        "preact",
        "11.2.0",
        "MIT",
        "draws the page from its state",
        {"preact.js": "dist/preact.mjs", "hooks.js": "hooks/dist/hooks.mjs"},
        {
            'from"preact"': 'from"./preact.js"',
            "//# sourceMappingURL=preact.mjs.map": "",
            "//# sourceMappingURL=hooks.mjs.map": "",
        },
    ),
    Library(
        "htm",
        "3.1.1",
        "Apache-2.0",
        "writes elements as text, without a build",
        {"htm.js": "dist/htm.mjs"},
    ),
    Library(
        "tus-js-client",
        "4.3.1",
        "MIT",
        "uploads slides, and goes on after a cut",
        {"tus.js": "dist/tus.min.js"},
        {"//# sourceMappingURL=tus.min.js.map": ""},
    ),
)


def main() -> None:
    """Fetch every library, write its files and vendor.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    entries = [entry for library in LIBRARIES for entry in vendor(library)]
    (FOLDER / "vendor.json").write_text(json.dumps(entries, indent=2) + "\n")


def vendor(library: Library) -> list[dict[str, str]]:
    """Write the files and the licence of a library, and return their entries of vendor.json."""
    entries = []
    with tempfile.TemporaryDirectory() as scratch:
        packed = subprocess.run(
            ["npm", "pack", "--json", f"{library.package}@{library.version}"],
            cwd=scratch,
            check=True,
            capture_output=True,
        )
        described = json.loads(packed.stdout)[0]
        with tarfile.open(Path(scratch) / described["filename"]) as archive:
            for name, path in library.files.items():
                content = member(archive, path).decode()
                for old, new in library.rewrite.items():
                    content = content.replace(old, new)
                data = content.rstrip().encode() + b"\n"
                (FOLDER / name).write_bytes(data)
                entries.append(
                    {
                        "file": name,
                        "package": library.package,
                        "version": library.version,
                        "licence": library.licence,
                        "purpose": library.purpose,
                        "integrity": described["integrity"],
                        "path": path,
                        "sha256": hashlib.sha256(data).hexdigest(),
                    }
                )
            licence = licence_name(archive)
            (FOLDER / f"{library.package}.LICENSE.txt").write_bytes(member(archive, licence))
    return entries


def member(archive: tarfile.TarFile, path: str) -> bytes:
    """Return the content of one file of an npm package."""
    file = archive.extractfile(f"package/{path}")
    if file is None:
        raise FileNotFoundError(path)
    return file.read()


def licence_name(archive: tarfile.TarFile) -> str:
    """Return the path of the package's licence."""
    names = [name.removeprefix("package/") for name in archive.getnames()]
    return next(name for name in names if name.upper().startswith("LICENSE"))


if __name__ == "__main__":
    main()
