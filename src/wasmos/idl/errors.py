"""The one error of this package: the author of a definition file has something to change.

Law: an IdlError names the file and the line, says what is wrong and what to do instead. It is
never our own bug: those are left to be seen as what they are.
"""

from __future__ import annotations


class IdlError(Exception):
    """What is wrong in a definition file, where, and what to do about it."""

    def __init__(self, file: str, line: int, problem: str, advice: str) -> None:
        # Line 0 is the file as a whole.
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: {problem}; {advice}")
        self.file = file
        self.line = line
        self.problem = problem
        self.advice = advice
