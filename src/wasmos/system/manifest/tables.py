"""A TOML file whose every mistake has a line.

Law: what is taken out of it has the type that was asked for; what can't be taken is an error that
names the file, the line of that very key or string, and the nearest thing that would be right.
"""

from __future__ import annotations

import os
import tomllib

from wasmos.errors import ManifestError
from wasmos.system import units
from wasmos.system.manifest.positions import Positions
from wasmos.system.policy.edit import heading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any, NoReturn

    from wasmos.system.manifest.positions import Place


class Tables:
    """A file that was read: its tables, and where everything in them stands.

    path: as it is shown. base: the folder that relative paths in it start from.
    """

    def __init__(self, path: str, base: str | None = None) -> None:
        """Raises ManifestError."""
        self.path = path
        self.base = os.path.dirname(os.path.abspath(path)) if base is None else base
        self.tables, text = _parsed(path)
        self._text = text
        self._positions: Positions | None = None

    def where(self, *place: str | int) -> str:
        """File and line of a key or a value; of the nearest one around it, if it isn't there."""
        if self._positions is None:
            self._positions = Positions(self._text)
        line = self._positions.line(place)
        return self.path if line is None else f"{self.path}:{line}"

    def fail(self, place: Place, problem: str) -> NoReturn:
        raise ManifestError(f"{self.where(*place)}: {problem}")

    # --- what can be taken ---

    def table(self, place: Place, value: object, shape: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fail(place, shape)
        return value

    def known(self, place: Place, name: str, known: Collection[str], kind: str) -> None:
        if name in known:
            return
        where = f" in {heading(*place[:-1])}" if place[1:] and kind == "key" else ""
        self.fail(place, f"unknown {kind} {name!r}{where}; {units.nearest(name, known)}")

    def text(self, place: Place, value: object) -> str:
        if not isinstance(value, str):
            self.fail(place, f'{place[-1]} is a string: {place[-1]} = "…"')
        return value

    def texts(self, place: Place, value: object) -> list[str]:
        if not isinstance(value, list):
            self.fail(place, f'{place[-1]} is a list of strings: {place[-1]} = ["…"]')
        for number, item in enumerate(value):
            if not isinstance(item, str):
                self.fail(
                    (*place, number), f'{place[-1]} is a list of strings: {place[-1]} = ["…"]'
                )
        return value

    def whole(self, place: Place, value: object, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            self.fail(place, f"{place[-1]} is a number from 0 to {most:,}, not {value!r}")
        return value

    def file(self, place: Place, text: str) -> str:
        """A path, which is relative to the file."""
        if "\0" in text:
            self.fail(place, f"{text!r} can't be a path")
        return os.path.join(self.base, os.path.expanduser(text))

    def name(self, place: Place, text: str, what: str) -> str:
        if not text or not text.isprintable():
            self.fail(place, f"{text!r} can't be a {what}'s name")
        return text


def _parsed(path: str) -> tuple[dict[str, Any], str]:
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
        return tomllib.loads(text), text
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ManifestError(f"{path}: {problem}") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8, which TOML is, at byte {error.start}") from None
    except ValueError as error:  # TOMLDecodeError is one, numbers that are too long are another
        raise ManifestError(f"{path}: {error}") from None
    except RecursionError:
        raise ManifestError(f"{path}: nested too deeply") from None
