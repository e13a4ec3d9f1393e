"""Message definitions, and what is made of them: C, Python, documentation.

Law: this package imports nothing else of wasmos, and a running system doesn't import it. Text
becomes a model (`parser`), the model an interface in which everything has a number and a place
(`layout`, `interface`), and an interface becomes files (`emit_*`, `outputs`).
"""

from __future__ import annotations

from .errors import IdlError
from .interface import Interface, lay_out
from .outputs import generate
from .parser import parse, parse_file

__all__ = ["IdlError", "Interface", "generate", "lay_out", "parse", "parse_file"]
