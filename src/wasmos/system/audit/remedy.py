"""What would allow what was denied, said by where its rules were said.

Law: an origin is a text for people, and in a log it may be anybody's. The forms that this package
writes itself are known here; of every other one it is said that the rule comes from there.

    policy.toml:12     a line of a file
    --deny             a flag, or one with its value: `--connect none`
    WASMOS_DENY        the environment in place of a flag
    deny=, allow=      an argument in Python
    prompt             an answer
    control (pid 7)    `wasmos deny` and `wasmos grant`; `the shell`: the same there
"""

from __future__ import annotations

import os
import shlex

from wasmos.errors import UsageError
from wasmos.kernel import Rule
from wasmos.servers.fs.world import LEADS_OUT
from wasmos.system.flags import host_port
from wasmos.system.policy.edit import heading
from wasmos.system.policy.policy import toml_string
from wasmos.system.prompt import ORIGIN as PROMPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

POLICY = "the policy file"
SHELL = "the shell"
PYTHON = "where Python runs it"
LISTEN = "tcpip.listen"
MODE = 'mode="ro"'
# Neither a rule for the path nor one for where it leads lets a link lead there.
OUT = (
    "no rule can: a path leads to nothing outside of its place; have what it leads to granted, "
    "with --dir, and opened there"
)


def lift(origin: str, grant: int) -> str:
    """How to be rid of a deny rule, which is the grant of this number."""
    return f"{_lift(origin, str(grant or 'GRANT'))}; no other rule can win against it"


def _lift(origin: str, grant: str) -> str:
    if file_of(origin):
        return f"take the deny rule out of {origin}"
    if origin.startswith("--"):
        return f"start it without {origin if ' ' in origin else f'this rule in {origin}'}"
    if _is_variable(origin):
        return f"take the deny rule out of {origin} in the environment"
    if origin == "deny=":
        return f"take the deny rule out of {origin} {PYTHON}"
    if origin == SHELL:
        return f"somebody said deny in the shell: start it anew, or say  revoke {grant}  there"
    if origin == PROMPT or is_control(origin):
        what = "answered [N]ever" if origin == PROMPT else "said wasmos deny"
        return f"somebody {what}: start it anew, or say  wasmos revoke {grant}  while it runs"
    said = origin or "nothing says where, as with kernel.deny"
    return f"take the deny rule back where it was set: {said}"


def again(cause: str, rule: str, origin: str, name: str, giver: str = "") -> str:
    """How to have what a task of this name was granted by a rule, and what has ended: `cause` says
    how. giver: the task that passed it on."""
    if giver:
        return f"{giver} passed it on: it would have to do so again"
    if cause == "spent" and origin == PROMPT:
        return "answer [r]un in place of [o]nce"
    instead = {"spent": "let it be used more often", "expired": "let it last longer"}
    what = instead.get(cause, "don't take it back")
    grant = f"wasmos grant {shlex.quote(name or 'TASK')} {shlex.quote(rule)}"
    return f"{what}, or grant it again while it runs: {grant}"


def badge(rule: str, origin: str, reason: str, giver: str = "") -> str:
    """How to have more of a rule whose badge a service has refused by; "" if it was something
    else. giver: the task that passed it on so. A rule more is no help: of two for one place the
    older counts."""
    if rule.startswith("fs") and reason.endswith(LEADS_OUT):
        return OUT
    if (wide := _writable(rule, reason)) is None:
        return ""
    if giver:
        return f"{giver} passed it on with  {MODE}: it would have to give more"
    if origin == "--dir":
        return f"--dir {_as_flag(wide)}  in place of the one that ends in :ro"
    if origin.startswith("--"):
        return f"{origin} {shlex.quote(str(wide))}  in place of  {rule}"
    more = ", and out of the task's `use` if a manifest asks for it" if file_of(origin) else ""
    return f"take  {MODE}  out of  {rule}  ({origin or 'nothing says where'}){more}"


def _writable(rule: str, reason: str) -> Rule | None:
    """The rule for writing, too, if that it is for reading was the reason."""
    try:
        found = Rule.parse(rule)
    except UsageError:
        return None
    if found.badge.get("mode") != "ro" or MODE not in reason:
        return None
    request = found.message and found.vocabulary.request(found.service, found.message)
    kept = {key: value for key, value in found.badge.items() if key != "mode"}
    return Rule(found.service, request or None, found.constraints, kept)


def _as_flag(rule: Rule) -> str:
    """As `--dir` has it, from where we are if it is beneath."""
    host = rule.badge.get("dir", "/")
    where = os.path.relpath(host)
    if not where.startswith(".."):
        host = where if where == "." else f"./{where}"
    return shlex.quote(f"{host}::{rule.badge.get('at', '/')}")


def add(rule: str, name: str, origins: Sequence[str], port: int | None = None) -> str:
    """How to allow a task of this name something. origins: of what it was granted and denied.
    port: that it wants to listen on, if it is about that."""
    if file := next(filter(None, map(file_of, origins)), ""):
        return _to_section(rule, name, file)
    if any(origin.startswith("--") or _is_variable(origin) for origin in origins):
        if port is not None:  # it has to be one of the host's, too
            return f"--listen {host_port(port)}:{port}"
        return f"--allow {shlex.quote(rule)}"
    if any(origin in ("allow=", "deny=") for origin in origins):
        return f"add  {toml_string(rule)}  to allow= {PYTHON}"
    if any(is_control(origin) or origin == SHELL for origin in origins):
        return f"wasmos grant {shlex.quote(name or 'TASK')} {shlex.quote(rule)}  while it runs"
    return _to_section(rule, name, POLICY)


def _to_section(rule: str, name: str, file: str) -> str:
    section = heading("task", name) if name else "the task's section"
    return f"add  {toml_string(rule)}  to {section} in {file}"


def file_of(origin: str) -> str:
    """The file of an origin such as `policy.toml:12`; "" for those that aren't in one."""
    file, _, number = origin.rpartition(":")
    return file if number.isdigit() else ""


def _is_variable(origin: str) -> bool:
    return origin.startswith("WASMOS_")


def is_control(origin: str) -> bool:
    return origin == "control" or origin.startswith("control (pid ")
