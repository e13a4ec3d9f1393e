"""What the operator grants: a TOML file beside the manifest, in which authors only ask.

Law: a task gets what it asks for, if that is covered, and nothing that it doesn't ask for; each of
its grants names the line that allows it. A task that asks for more doesn't start, and the error has
the lines that would allow it. What is denied stays denied, whatever is allowed.

    [default]            deny = [...]              for all of them
    [task.NAME]          allow = [...]  deny = [...]
    [spawn]              the same, for programs without a section in the manifest
    [run]                the same, for `wasmos run --policy`, whatever the program is called
"""

from __future__ import annotations

import os

from wasmos.errors import ManifestError, NotGranted, UsageError
from wasmos.kernel import ALL
from wasmos.system import units
from wasmos.system.manifest.tables import Tables
from wasmos.system.policy import rights
from wasmos.system.policy.edit import heading
from wasmos.system.policy.rights import Right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Any

    from wasmos.kernel import Rule
    from wasmos.system.manifest.manifest import Manifest, TaskPlan
    from wasmos.system.manifest.positions import Place

SECTIONS = ("default", "task", "spawn", "run")
KEYS = ("allow", "deny")
DEFAULT_KEYS = ("deny",)


class Section:
    """What a policy says of one task."""

    __slots__ = ("allow", "deny", "has_allow", "is_there")

    def __init__(self) -> None:
        self.allow: list[Right] = []
        self.deny: list[Right] = []
        self.has_allow = False  # the key is in the file, if only with an empty list
        self.is_there = False


class Policy:
    """A policy file, read and checked. Without `tables` there is none, and it grants nothing."""

    def __init__(self, path: str, tables: Tables | None = None) -> None:
        self.path = path
        self.exists = tables is not None
        self.default = Section()
        self.spawn = Section()
        self.run = Section()
        self.tasks: dict[str, Section] = {}
        self._tables = tables
        if tables is not None:
            self._read(tables)

    def of(self, name: str) -> Section:
        """What it says of a task of the manifest."""
        return self.tasks.get(name) or Section()

    def denials(self, section: Section) -> list[Right]:
        return [*self.default.deny, *section.deny]

    def check_services(self, section: Section, known: Collection[str]) -> None:
        """Raises ManifestError for a service that nobody can be."""
        for right in (*section.allow, *self.denials(section)):
            check_service(right, known)

    # --- reading ---

    def _read(self, tables: Tables) -> None:
        for name, value in tables.tables.items():
            tables.known((name,), name, SECTIONS, "section")
            table = tables.table((name,), value, f"{name} is a section: write [{name}]")
            if name == "task":
                for task, entries in table.items():
                    place = "task", tables.name(("task", task), task, "task")
                    entries = tables.table(place, entries, f"write {heading('task', task)}")
                    self.tasks[task] = Section()
                    self._section(tables, place, self.tasks[task], entries, KEYS)
            else:
                keys = DEFAULT_KEYS if name == "default" else KEYS
                self._section(tables, (name,), getattr(self, name), table, keys)

    def _section(
        self,
        tables: Tables,
        place: Place,
        section: Section,
        table: dict[str, Any],
        keys: tuple[str, ...],
    ) -> None:
        section.is_there = True
        for key, value in table.items():
            tables.known((*place, key), key, keys, "key")
            found = rights.read(tables, (*place, key), value, deny=key == "deny")
            setattr(section, key, found)
            section.has_allow |= key == "allow"

    def check_tasks(self, names: Collection[str]) -> None:
        """Raises ManifestError for a section that is about no task."""
        for name in self.tasks:
            if name not in names and self._tables is not None:
                self._tables.known(("task", name), name, names or ("spawn",), "task")


def read(path: str) -> Policy:
    """Raises ManifestError."""
    return Policy(path, Tables(path))


def beside(manifest_path: str) -> str:
    """Where the policy of a manifest is, unless somebody says otherwise."""
    folder, file = os.path.split(manifest_path)
    name = os.path.splitext(file)[0]
    return os.path.join(folder, "policy.toml" if name == "system" else f"{name}.policy.toml")


def check_service(right: Right, known: Collection[str]) -> None:
    """Raises ManifestError."""
    try:
        rights.check_service(right.rule, known)
    except UsageError as error:
        raise ManifestError(f'{right.origin}: rule "{right.text}": {error}') from None


# --- granting -----------------------------------------------------------------------------------


def authorize(manifest: Manifest, policy: Policy) -> None:
    """Give every task of a manifest what it asks for, as far as the policy goes. Raises NotGranted
    if that isn't far enough for one of them, ManifestError for what makes no sense."""
    policy.check_tasks(manifest.tasks)
    known = manifest.services
    wants = [Want(plan, policy.of(plan.name), policy, heading("task", plan.name))
             for plan in manifest.tasks.values()]  # fmt: skip
    wants.append(Want(manifest.spawn, policy.spawn, policy, heading("spawn")))
    for want in wants:
        policy.check_services(want.section, known)
        want.decide()
    refused = [want for want in wants if want.lacking or want.denied]
    if refused and not policy.exists:
        raise NotGranted(_no_policy(manifest.path, policy.path, refused))
    if refused:
        raise NotGranted("\n".join(want.explain() for want in refused))


class Want:
    """What one task asks for, and what becomes of it."""

    def __init__(self, plan: TaskPlan, section: Section, policy: Policy, header: str) -> None:
        self.plan = plan
        self.section = section
        self.header = header
        self.policy = policy
        self.lacking: list[Right] = []
        self.denied: list[tuple[Right, Right]] = []  # what is asked for, what stands against it

    def decide(self) -> None:
        plan, name = self.plan, "" if self.header == heading("spawn") else self.plan.name
        plan.deny = self.policy.denials(self.section)
        plan.allow = []
        for right in plan.use:
            against = [deny for deny in plan.deny if forbids(deny.rule, right.rule, name)]
            if against:
                self.denied.append((right, against[0]))
            elif source := _source(self.section.allow, right.rule, name):
                plan.allow.append(Right(right.rule, source, right.text))
            else:
                self.lacking.append(right)

    def explain(self) -> str:
        """What is wrong with it, and the lines to add."""
        lines = []
        name = self.plan.name
        if self.lacking:
            rows = [("asked", str(right.rule), right.origin) for right in self.lacking]
            lines += [f"{name} asks for what no policy grants", *_aligned(rows), *self._to_add()]
        for right, deny in self.denied:
            rows = [
                ("asked", str(right.rule), right.origin),
                ("denied", str(deny.rule), deny.origin),
            ]
            lines += [f"{name} asks for what the policy denies", *_aligned(rows)]
            lines.append("  to start it take one of these two lines out")
        return "\n".join(lines)

    def _to_add(self) -> list[str]:
        path, rules = self.policy.path, [toml_string(str(right.rule)) for right in self.lacking]
        if self.section.has_allow:
            return [
                f"  to allow add to `allow` of {self.header} in {path}:",
                *(f"      {rule}," for rule in rules),
            ]
        if self.section.is_there:
            return [f"  to allow add to {self.header} in {path}:", *_allow("      ", rules)]
        return [f"  to allow add to {path}:", f"      {self.header}", *_allow("      ", rules)]


def _no_policy(manifest: str, path: str, refused: list[Want]) -> str:
    rows = [
        ("asked", f"{want.plan.name}: {right.rule}", right.origin)
        for want in refused
        for right in want.lacking
    ]
    lines = [f"{manifest} asks for rights, and there is no policy that grants any", *_aligned(rows)]
    lines.append(f"  to allow all of that write {path}:")
    for want in refused:
        rules = [toml_string(str(right.rule)) for right in want.lacking]
        lines += [f"      {want.header}", *_allow("      ", rules)]
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    width = max(len(rule) for _, rule, _ in rows)
    return [f"  {what:8} {rule:{width}}    ({origin})" for what, rule, origin in rows]


def _allow(indent: str, rules: list[str]) -> list[str]:
    if len(rules) == 1:
        return [f"{indent}allow = [{rules[0]}]"]
    return [f"{indent}allow = [", *(f"{indent}    {rule}," for rule in rules), f"{indent}]"]


def toml_string(text: str) -> str:
    """A string of TOML, as easy to read as it can be."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    if text.isprintable() and "'" not in text:
        return f"'{text}'"
    escapes = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'  # a rule has nothing else to escape


def _source(allow: Iterable[Right], rule: Rule, own_name: str) -> str:
    """The line of a policy that covers a rule; nothing if there is none."""
    return next((right.origin for right in allow if right.rule.covers(rule, own_name)), "")


def forbids(deny: Rule, rule: Rule, own_name: str = "") -> bool:
    """Whether a rule that denies leaves nothing of what another one is for."""
    if deny.service == ALL:
        return True
    if deny.service != rule.service:
        return False
    if deny.denied is None:
        return True
    if rule.denied is None or not rule.denied <= deny.denied:
        return False
    return all(_forbids_type(deny, rule, number, own_name) for number in rule.denied)


def _forbids_type(deny: Rule, rule: Rule, number: int, own_name: str) -> bool:
    asked = {check.key: check for check in rule.checks(number, own_name)}
    return all(
        check.is_open or (check.key in asked and check.covers(asked[check.key]))
        for check in deny.checks(number, own_name, deny=True)
    )


# --- for one program ----------------------------------------------------------------------------


def denied_in(path: str, name: str, rule: Rule, *, alone: bool) -> Right | None:
    """What in a file leaves nothing of a rule for a task of this name, whatever the file allows;
    None also if there is no file. alone: the task is run without a manifest. Raises
    ManifestError."""
    if not os.path.exists(path):
        return None
    policy = read(path)
    denials = policy.denials(policy.of(name)) + (policy.run.deny if alone else [])
    return next((right for right in denials if forbids(right.rule, rule, name)), None)


def for_run(
    path: str, name: str, services: Collection[str], *, needed: bool = True
) -> tuple[list[Right], list[Right]]:
    """What a policy allows and denies a program that is run alone: [task.NAME] and [run]. If it
    isn't `needed`, the file may be missing, or say nothing. Raises ManifestError, NotGranted."""
    policy = read(path) if needed or os.path.exists(path) else Policy(path)
    sections = [policy.of(name), policy.run]
    if needed and not any(section.is_there for section in sections):
        others = f"; {units.nearest(name, policy.tasks)}" if policy.tasks else ""
        raise NotGranted(
            f"{path} grants {name!r} nothing{others}\n"
            f"  to allow something add {heading('task', name)}, or [run] for whatever is run"
        )
    for section in sections:
        policy.check_services(section, services)
    denials = [*policy.default.deny, *(right for each in sections for right in each.deny)]
    return [right for each in sections for right in each.allow], denials
