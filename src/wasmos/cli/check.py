"""`wasmos check`: would it be accepted, and what does it want? A program, or a whole manifest."""

from __future__ import annotations

import shlex
from contextlib import suppress

from wasmos.abi import SERVICES
from wasmos.cli import EXIT_REFUSED, fail, say, shown
from wasmos.cli.run import memory_bytes, unusual_memory
from wasmos.errors import ModuleRefused
from wasmos.kernel import admit, inspect, read
from wasmos.system import outfit
from wasmos.system.allowance import SERVICES as CAN_ALLOW
from wasmos.system.run import LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection
    from typing import Any

VERSION = 1


def main(options: argparse.Namespace) -> int:
    if options.schema is not None:
        from wasmos.system.manifest.schema import text

        print(text(options.schema), end="")
        return 0
    if options.module.endswith(".toml"):
        from wasmos.cli import check_manifest

        return check_manifest.main(options)
    if options.policy is not None:
        say("note: a policy is held against a manifest, and isn't looked at for a program")
    return _module(options)


def _module(options: argparse.Namespace) -> int:
    name, data = read(options.module)
    report: dict[str, Any] = {"version": VERSION, "module": options.module, "bytes": len(data)}
    try:
        _, shape = admit(
            name,
            data,
            LIMITS.replace(memory_bytes=memory_bytes(options)),
            outfit.personalities(),
        )
        report |= {"accepted": True, "kind": shape.kind}
        if shape.dialect is not None:
            report["dialect"] = shape.dialect
    except ModuleRefused as error:
        report |= {"accepted": False, "reason": str(error)}
    with suppress(ModuleRefused):  # not even readable: the reason says where
        report |= inspect(data)
    strings = report.pop("strings", ())
    if "dialect" in report:
        report["services"] = _wanted(report)
    else:
        report["services"] = [name for name in SERVICES if _names(strings, name)]
    if options.output == "json":
        import json

        print(json.dumps(report, indent=2))
    else:
        memory = unusual_memory(options)
        _show(report, "" if memory is None else f"--max-memory {memory} ")
    if not report["accepted"]:
        return EXIT_REFUSED if options.output == "json" else fail(report["reason"], EXIT_REFUSED)
    return 0


def _wanted(report: dict[str, Any]) -> list[str]:
    """What a program for WASI will want: it names no services, but imports functions."""
    from wasmos.personalities.wasi import wants

    names = [row["name"].partition(".") for row in report["imports"]]
    return wants.services(name for module, _, name in names if module == report["dialect"])


def _names(strings: Collection[str], service: str) -> bool:
    """Whether one of the strings is the name, or ends with it as a word: linkers
    let strings with the same end share it."""
    for text in strings:
        if text.endswith(service):
            before = text[: -len(service)]
            if not before or not (before[-1].isalnum() or before[-1] == "_"):
                return True
    return False


def _show(report: dict[str, Any], memory: str) -> None:
    """`memory`: what a run has to say of it."""
    if report["accepted"]:
        kind = "a program" if report["kind"] == "active" else "a passive service"
        kind = "a reactor" if _is_reactor(report) else kind
        kind += f" for {report['dialect']}" if "dialect" in report else ""
        print(shown(f"{report['module']}: accepted, {kind}, {report['bytes']:,} bytes"))
    for what in ("imports", "exports"):
        for row in report.get(what, ()):
            print(shown(f"  {what[:-1]:7} {row['name']} {row['type']}"))
    if "dialect" in report:
        _show_wanted(report, memory)
        return
    if report["services"]:
        print(f"  its strings name these services: {', '.join(report['services'])}")
    if report["accepted"] and report["kind"] == "active":
        flags = "".join(f"--allow {name} " for name in report["services"] if name in CAN_ALLOW)
        print(shown(f"  try: wasmos run {flags}{memory}{shlex.quote(report['module'])}"))


def _show_wanted(report: dict[str, Any], memory: str) -> None:
    """A run grants most of it by itself, and a manifest none."""
    from wasmos.personalities.wasi import wants
    from wasmos.system.policy.policy import toml_string

    wanted = report["services"]
    if wanted:
        print(f"  its imports want these services: {', '.join(wanted)}")
    flags = "".join(f"{flag} " for name, flag in _WANTED_FLAGS.items() if name in wanted)
    if _is_reactor(report):
        flags += "--invoke NAME "
    print(shown(f"  try: wasmos run {flags}{memory}{shlex.quote(report['module'])}"))
    use = ", ".join(map(toml_string, wants.uses(wanted)))
    print(f"  in a manifest: use = [{use}]")


def _is_reactor(report: dict[str, Any]) -> bool:
    """Whether it is accepted because it can be initialized, and has functions for others."""
    names = [row["name"] for row in report["exports"]]
    return "dialect" in report and "_start" not in names


# Of what a run doesn't grant by itself.
_WANTED_FLAGS = {"fs": "--dir .:ro", "tcpip": "--listen 8080:80"}
