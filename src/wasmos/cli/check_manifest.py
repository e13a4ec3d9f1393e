"""`wasmos check SYSTEM.toml`: what a system would be granted, without booting it."""

from __future__ import annotations

import os

from wasmos.cli import EXIT_REFUSED, fail, say, shown
from wasmos.errors import ManifestError, ModuleRefused, UsageError
from wasmos.kernel import ALL, admit, inspect, read
from wasmos.system import outfit
from wasmos.system.manifest.manifest import Manifest, load
from wasmos.system.policy.edit import heading
from wasmos.system.policy.policy import read as read_policy
from wasmos.system.programs import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wasmos.system.manifest.manifest import TaskPlan
    from wasmos.system.policy.rights import Right

VERSION = 1


def main(options: argparse.Namespace) -> int:
    if not os.path.exists(options.module):  # 127 is for a program
        raise ManifestError(f"{options.module}: no such file or directory")
    if os.path.basename(options.module) == "policy.toml" or options.module.endswith(".policy.toml"):
        read_policy(options.module)
        print(shown(f"{options.module}: a policy; check the manifest to see what it grants"))
        return 0
    manifest = load(options.module, options.policy)
    programs = Programs(manifest.programs)
    for number, folder in enumerate(manifest.programs):
        if folder in programs.missing:
            where = manifest.where("system", "programs", number)
            say(f"note: {where}: programs: there is no directory {folder}")
    programs.find(manifest)
    for plan in manifest.tasks.values():
        try:
            _check_module(manifest, programs, plan)
        except ModuleRefused as error:
            where = manifest.where("task", plan.name, "module")
            return fail(f"{where}: {heading('task', plan.name)} {error}", EXIT_REFUSED)
    _show(manifest, options.output)
    return 0


def _check_module(manifest: Manifest, programs: Programs, plan: TaskPlan) -> None:
    """Raises ModuleRefused, ManifestError."""
    where = f"{manifest.where('task', plan.name, 'module')}: {heading('task', plan.name)}"
    try:
        name, data = read(plan.path or programs.path(plan.module))
        _, shape = admit(name, data, plan.limits, outfit.personalities())
        outfit.check_lengths(shape.dialect, plan.args)
        if shape.dialect is not None:
            _note_missing(where, plan, shape.dialect, data)
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ManifestError(f"{where} {error.filename}: {problem}") from None
    except UsageError as error:
        raise ManifestError(f"{where} {error}") from None


def _note_missing(where: str, plan: TaskPlan, dialect: str, data: bytes) -> None:
    """What a run would grant by itself, and this task's author may have forgotten to ask for."""
    from wasmos.personalities.wasi import wants

    names = [row["name"].partition(".") for row in inspect(data)["imports"]]
    wanted = wants.services(name for module, _, name in names if module == dialect)
    asked = {right.rule.service for right in plan.use}
    missing = [name for name in ("clock", "console", "random") if name in {*wanted} - asked]
    if missing and ALL not in asked:
        say(f"note: {where} is for WASI and imports what needs {', '.join(missing)}; "
            "its use doesn't ask for that")  # fmt: skip


def _show(manifest: Manifest, output: str) -> None:
    plans = [*manifest.tasks.values(), *([manifest.spawn] if manifest.spawn.use else [])]
    if output == "json":
        import json

        tasks = [_row(manifest, plan) for plan in plans]
        report = {"version": VERSION, "manifest": manifest.path, "name": manifest.name}
        print(json.dumps({**report, "servers": manifest.servers, "tasks": tasks}, indent=2))
        return
    count = len(manifest.tasks)
    count_shown = f"{count} task{'' if count == 1 else 's'}"
    print(shown(f"{manifest.path}: {manifest.name} can boot, {count_shown}"))
    for plan in plans:
        print(shown(f"  {_heading(manifest, plan)}"))
        for what, rights in (("may", plan.allow), ("may not", plan.deny)):
            for right in rights:
                print(shown(f"    {what:8}{right.rule}    ({right.origin})"))


def _heading(manifest: Manifest, plan: TaskPlan) -> str:
    if plan is manifest.spawn:
        return "programs without a section"
    return f"{plan.name}, restarted {plan.restart.mode}" if _restarts(plan) else plan.name


def _restarts(plan: TaskPlan) -> bool:
    return plan.restart.mode != "never"


def _row(manifest: Manifest, plan: TaskPlan) -> dict[str, Any]:
    row: dict[str, Any] = {"name": None if plan is manifest.spawn else plan.name}
    if plan is not manifest.spawn:
        row |= {"module": plan.path or plan.module, "restart": plan.restart.mode}
    return row | {"allow": _rules(plan.allow), "deny": _rules(plan.deny)}


def _rules(rights: list[Right]) -> list[dict[str, str]]:
    return [{"rule": str(right.rule), "origin": right.origin} for right in rights]
