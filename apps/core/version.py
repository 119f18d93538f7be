"""The version of this product: ``pyproject.toml`` names it, and everything else reads it here.

It is the release that is being prepared; a tag ``vX.Y.Z`` marks the commit that became it (CONTRIBUTING.md).
"""

import tomllib
from pathlib import Path
from typing import Final

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
VERSION: Final[str] = tomllib.loads(_PROJECT.read_text())["project"]["version"]
