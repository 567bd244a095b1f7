"""The modules of the page: each one that is imported is there, and no folder holds a crowd."""

import re
from collections import Counter

from tests.support.paths import ROOT

FOLDER = ROOT / "services" / "web"
_IMPORT = re.compile(r"""(?:from|import|import\(|new URL\()\s*["'](\.{1,2}/[^"']+)["']""")
_STATIC_IMPORT = re.compile(r"""^import\b[^;(]*?["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)
_PRELOAD = re.compile(r'<link rel="modulepreload" href="/page/{{version}}/([^"]+)">')
_MOST_MODULES = 13


def test_every_module_that_is_imported_is_there() -> None:
    """A browser says so only when somebody opens the part that needs it."""
    own = [module for module in FOLDER.rglob("*.js") if module.parent.name != "vendor"]
    imported = {
        module.parent / name for module in own for name in _IMPORT.findall(module.read_text())
    }
    assert [path for path in imported if not path.is_file()] == []


def test_no_folder_holds_a_crowd_of_modules() -> None:
    """As for packages: a reader finds a part by its folder."""
    modules = Counter(module.parent.relative_to(FOLDER) for module in FOLDER.rglob("*.js"))
    assert [folder for folder, count in modules.items() if count > _MOST_MODULES] == []


def test_the_first_modules_are_asked_for_at_once() -> None:
    """`index.html` names what `app.js` cannot start without, so that no import waits for another."""
    needed: set[str] = set()
    to_read = [FOLDER / "app.js"]
    while to_read:
        module = to_read.pop()
        for name in _STATIC_IMPORT.findall(module.read_text()):
            imported = (module.parent / name).resolve()
            if imported.relative_to(FOLDER).as_posix() not in needed:
                needed.add(imported.relative_to(FOLDER).as_posix())
                to_read.append(imported)
    assert set(_PRELOAD.findall((FOLDER / "index.html").read_text())) == needed
