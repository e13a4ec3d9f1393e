"""`python -m wasmos.personalities.wasi`: write the page of the reference."""

from __future__ import annotations

import sys
from pathlib import Path

from wasmos.personalities.wasi.page import page

PAGE = Path(__file__).parents[4] / "docs/reference/wasi.md"

if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text() != page())
    PAGE.write_text(page())
