"""Adding a rule to a policy file, as a person with an editor would.

Law: everything else in the file stays as it is, comments included; what is written reads back as
what was there and the new rule, or nothing is written; and there is never half a file.

tomllib can't write, and what can write TOML is one more package to trust, so this is an edit of
text. It need not understand all of TOML: each edit that might be right is made, read back and
compared, and where none is right (an inline table, say) the error says what to add by hand.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib

from wasmos.errors import ManifestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

INDENT = "    "
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TOKEN = re.compile(
    r"""(?P<space>[\s,]+) | (?P<comment>\#[^\n]*) | (?P<open>\[) | (?P<close>\])
      | \"\"\"(?:[^\\]|\\.)*?\"\"\" | '''.*?''' | "(?:[^"\\\n]|\\.)*" | '[^'\n]*'
      | [^\s,\[\]"'\#]+""",
    re.VERBOSE | re.DOTALL,
)


def add(path: str, task: str, rule: str, *, comment: str = "", key: str = "allow") -> bool:
    """Add a rule to [task.TASK] of the file, which is made if it isn't there. False if it is there
    already. Raises ManifestError, which says what to add by hand, and OSError."""
    path = os.path.realpath(path)
    before = _read(path)
    after = added(before or "", task, rule, comment=comment, key=key, path=path)
    if after is None:
        return False
    if _read(path) != before:
        raise ManifestError(f"{path}: somebody else has changed it meanwhile; try again")
    replace(path, after)
    return True


def added(
    text: str, task: str, rule: str, *, comment: str = "", key: str = "allow", path: str = "policy"
) -> str | None:
    """The text of a policy with one rule more; None if it has it already. Raises ManifestError."""
    tables = _parsed(text, path)
    wanted = _with_rule(tables, task, rule, key)
    if wanted == tables:
        return None
    if wanted is not None:
        for edited in _edits(text, task, rule, comment, key):
            try:
                if tomllib.loads(edited) == wanted:
                    return edited
            except ValueError:
                continue
    section = heading("task", task)
    raise ManifestError(
        f"{path}: can't be edited safely; add to {section}: {key} = [{quoted(rule)}]"
    )


def quoted(text: str) -> str:
    """A string of TOML."""
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def quoted_key(name: str) -> str:
    return name if name.isascii() and _BARE.fullmatch(name) else quoted(name)


def heading(*place: str | int) -> str:
    """A section's first line: `[task.web]`, `[task.'my web']`. What is said in an error can be
    copied into the file, too."""
    return f"[{'.'.join(quoted_key(str(part)) for part in place)}]"


def replace(path: str, text: str) -> None:
    """Write a file, all of it or nothing. It keeps its mode, and a link to it stays one. To what is
    no file, a pipe or /dev/null, it is just written: another one can't take its place."""
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        return
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    half = os.path.join(folder, f".{name}.{os.getpid()}.new")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            if mode is not None:
                os.fchmod(descriptor, mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(half, path)
    except BaseException:
        os.unlink(half)
        raise


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


# --- what it should be ---


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8, which TOML is, at byte {error.start}") from None


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from None


def _with_rule(tables: dict[str, Any], task: str, rule: str, key: str) -> dict[str, Any] | None:
    """What the file should say afterwards; None if there is something else in that place."""
    tasks = tables.get("task", {})
    if not isinstance(tasks, dict):
        return None
    section = tasks.get(task, {})
    if not isinstance(section, dict) or not isinstance(rules := section.get(key, []), list):
        return None
    if rule in rules:
        return tables
    return {**tables, "task": {**tasks, task: {**section, key: [*rules, rule]}}}


# --- edits that might be right ---


def _edits(text: str, task: str, rule: str, comment: str, key: str) -> Iterator[str]:
    line = f"{quoted(rule)},{f'  # {comment}' if comment else ''}"
    newline = "\r\n" if "\r\n" in text else "\n"
    array = newline.join((f"{key} = [", INDENT + line, "]", ""))
    for start, end in _sections(text, task):
        body = text[start:end]
        for match in re.finditer(rf"(?m)^[ \t]*{re.escape(key)}[ \t]*=[ \t]*\[", body):
            grown = _grown(body, match.end(), rule, line, newline)
            if grown is not None:
                yield text[:start] + grown + text[end:]
        header, end_of_line, rest = body.partition("\n")
        yield f"{text[:start]}{header}{end_of_line or newline}{array}{rest}{text[end:]}"
    ends = newline if text and not text.endswith("\n") else ""
    blank = newline if text.strip() else ""
    yield f"{text}{ends}{blank}{heading('task', task)}{newline}{array}"


def _sections(text: str, task: str) -> Iterator[tuple[int, int]]:
    """From behind a header that seems to be the task's to the next one."""
    name = "|".join(map(re.escape, {task, quoted(task), f'"{task}"'}))
    header = rf"(?m)^[ \t]*\[[ \t]*['\"]?task['\"]?[ \t]*\.[ \t]*(?:{name})[ \t]*\]"
    for match in re.finditer(header, text):
        following = re.compile(r"(?m)^[ \t]*\[(?=[^\n]*\][ \t]*(?:#[^\n]*)?\r?$)")
        found = following.search(text, match.end())
        yield match.end(), found.start() if found else len(text)


def _grown(body: str, at: int, rule: str, line: str, newline: str) -> str | None:
    """The array that begins before `at` with an element more; None if it doesn't end."""
    depth, start, last, comma = 1, at, at, True
    while at < len(body) and (match := _TOKEN.match(body, at)):
        at = match.end()
        if match["space"] is not None:
            comma = comma or "," in match["space"]
        elif match["comment"] is None:
            depth += (match["open"] is not None) - (match["close"] is not None)
            if depth == 0:
                inside = body[start:last], ("" if comma else ",") + body[last : match.start()]
                return body[:start] + _longer(*inside, rule, line, newline) + body[at - 1 :]
            last, comma = at, False
    return None


def _longer(elements: str, rest: str, rule: str, line: str, newline: str) -> str:
    """What stands between the brackets. `rest` begins behind the last element, with a comma."""
    if "\n" not in elements + rest:  # all of it in one line
        return f"{elements}{rest.rstrip()}{' ' if elements else ''}{quoted(rule)}"
    before, end, indent = rest.rpartition("\n")
    if not end:  # the bracket stands behind the last element
        before, end, indent = rest, newline, ""
    return f"{elements}{before}{end}{INDENT}{line}{newline}{indent}"
