"""Where the tests find the repository, and real slides where they lie beside it."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""The repository's root."""
SLIDES: Final = ROOT.parent / "shared" / "slides"
"""A folder of real slides; a test that wants one skips where it is absent."""
