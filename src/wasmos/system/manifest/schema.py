"""The JSON Schemas of the two files, for editors.

Law: the files beside this one are what there is; a test compares their keys with the readers'.
"""

from __future__ import annotations

import os

NAMES = ("manifest", "policy")


def text(name: str) -> str:
    """One of NAMES."""
    path = os.path.join(os.path.dirname(__file__), f"{name}.schema.json")
    with open(path, encoding="utf-8") as file:
        return file.read()
