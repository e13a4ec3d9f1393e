"""Which files are generated from which, and whether they are up to date.

Law: an output depends on its sources alone, never on the machine, the time or the folder it is
made in. So "up to date" means equal, and `--check` needs no other record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .emit_c import emit_c
from .emit_docs import emit_docs
from .emit_python import emit_python
from .errors import IdlError
from .interface import Interface, lay_out
from .model import Document
from .parser import parse_file

# Numbers below are the system's, those it has and those it will get.
FIRST_USER_NUMBER = 1000

SYSTEM_FILE = "messages.idl"

# An installed package has no checkout around it, so it carries the system's definitions itself:
# users' own are checked against them.
_CARRIED = Path(__file__).with_name("system.idl")


@dataclass(frozen=True, slots=True)
class Output:
    """A file and what it should hold."""

    path: Path
    text: str

    def is_stale(self) -> bool:
        try:
            return self.path.read_bytes() != self.text.encode()
        except FileNotFoundError:
            return True

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self.text.encode())


def generate(
    paths: Sequence[Path] = (),
    *,
    c: Path | None = None,
    python: Path | None = None,
    docs: Path | None = None,
    root: Path | None = None,
    check: bool = False,
) -> list[Path]:
    """Bring generated files up to date, and say which ones weren't.

    Without paths: the system's own, in the checkout at `root`. With paths: the users' definitions
    in these files, into the outputs named. With `check`, nothing is written.
    """
    if paths:
        outputs = user_outputs(paths, c=c, python=python, docs=docs)
    else:
        outputs = system_outputs(root or Path(__file__).parents[3])
    stale = [output for output in outputs if output.is_stale()]
    if not check:
        for output in stale:
            output.write()
    return [output.path for output in stale]


def system_outputs(root: Path) -> list[Output]:
    """What is generated from messages.idl at the root of a checkout."""
    source = root / SYSTEM_FILE
    interface = load(source, SYSTEM_FILE)
    for message in interface.messages:
        if message.number >= FIRST_USER_NUMBER:
            problem = f"'{message.name}' has number {message.number}"
            advice = f"the system's numbers end below {FIRST_USER_NUMBER}"
            raise IdlError(message.file, message.line, problem, advice)
    sources = [SYSTEM_FILE]
    package = root / "src" / "wasmos"
    return [
        Output(root / "guests" / "include" / "wasmos.h", emit_c(interface, sources)),
        Output(package / "abi" / "messages.py", emit_python(interface, sources)),
        Output(root / "docs" / "reference" / "messages.md", emit_docs(interface, sources)),
        Output(package / "idl" / _CARRIED.name, source.read_bytes().decode()),
    ]


def user_outputs(
    paths: Sequence[Path],
    *,
    c: Path | None = None,
    python: Path | None = None,
    docs: Path | None = None,
) -> list[Output]:
    """What is generated from users' own files.

    The header holds the system's messages too, because a guest includes one header and all the
    messages share one union. Module and page hold the users' alone.
    """
    everything, own = load_users(paths)
    sources = [path.name for path in paths]
    outputs = []
    if c is not None:
        outputs.append(Output(c, emit_c(everything, [SYSTEM_FILE, *sources])))
    if python is not None:
        outputs.append(Output(python, emit_python(own, sources)))
    if docs is not None:
        outputs.append(Output(docs, emit_docs(own, sources)))
    return outputs


def load(path: Path, file: str | None = None) -> Interface:
    """The interface in one file, on its own."""
    return lay_out([parse_file(path, file)])


def load_users(paths: Sequence[Path]) -> tuple[Interface, Interface]:
    """The system's interface together with the users', and the users' alone."""
    documents = [parse_file(path) for path in paths]
    for document in documents:
        _check_user_document(document)
    everything = lay_out([parse_file(_CARRIED, SYSTEM_FILE), *documents])
    return everything, everything.only(document.file for document in documents)


def _check_user_document(document: Document) -> None:
    if document.first < FIRST_USER_NUMBER:
        problem = f"the numbers below {FIRST_USER_NUMBER} belong to the system"
        advice = f"begin the file with 'first {FIRST_USER_NUMBER};' or a higher number"
        raise IdlError(document.file, document.first_line, problem, advice)
    for block in document.blocks:
        if block.name is None:
            problem = "only the system's own file has messages of the kernel"
            raise IdlError(document.file, block.line, problem, "make it a service")
