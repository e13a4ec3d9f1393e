"""`wasmos run`: one program, exactly the authority on the command line."""

from __future__ import annotations

import sys

from wasmos.cli import end_in_order, say
from wasmos.cli.progress import progress
from wasmos.kernel import ALL, REASONS, UNMET, CompileLimits, Limits, split_rules
from wasmos.system.allowance import SERVICES, Said
from wasmos.system.control.later import is_off
from wasmos.system.run import LIMITS, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from wasmos.kernel import Denial, Exit, Grant
    from wasmos.system.completed import Completed
    from wasmos.system.run import Ask

MAX_NOTES = 10
# What a program for another system may have needed, and how it gets that.
LACKS = {
    "fs": ("directories", "--dir HOST::GUEST"),
    "tcpip": ("ports to listen on", "--listen HOST:GUEST"),
}
IN_MEMORY = "these are files in memory; for a directory of this machine: --dir HOST::GUEST"


def main(options: argparse.Namespace) -> int:
    def log(line: str) -> None:
        if not options.quiet:
            say(line)

    allow = rules(options.allow, "--allow")
    if options.allow_all:
        allow.append(Said(ALL, "--allow-all"))
    if ALL in allow:
        say("warning: everything is allowed: the program can reach every host that this one can")
    end_in_order()
    completed = run(
        "/dev/stdin" if options.module == "-" else options.module,
        options.args,
        allow=allow,
        deny=rules(options.deny, "--deny"),
        policy=options.policy,
        dirs=options.dir,
        listen=options.listen,
        connect=options.connect,
        env=options.env,
        files=options.files,
        max_open_files=options.max_open_files,
        ask=_ask(options),
        audit=options.audit,
        audit_calls=options.audit_calls,
        timeout=options.timeout,
        limits=limits(options),
        compile_limits=compile_limits(options),
        input=sys.stdin.buffer,
        terminal=False if options.raw else None,
        output_limit=None if options.max_output is None else int(options.max_output),
        files_limit=int(options.max_files),
        clock=options.clock,
        seed=options.seed,
        argv0=options.argv0,
        invoke=options.invoke,
        control=not (options.no_control or is_off()),
        cache=not options.no_cache,
        progress=progress(options.quiet),
        log=log,
    )
    for result in completed.show_results():
        print(result)
    exit = completed.exit
    if exit.code is None:
        log(f"error: {exit}")
        for line in completed.trace(details=options.details):
            log(line)
    _note_memory(exit, log)
    _note_denials(completed, options.policy, log)
    _note_lacks(completed, log)
    return completed.returncode


def limits(options: argparse.Namespace) -> Limits:
    """What a program may take, as said on the command line."""
    return LIMITS.replace(memory_bytes=memory_bytes(options), cpu_seconds=options.cpu)


def memory_bytes(options: argparse.Namespace) -> int:
    size = options.max_memory
    return LIMITS.memory_bytes if size is None else int(size)


def compile_limits(options: argparse.Namespace) -> CompileLimits:
    """What compiling a program may take, as said on the command line."""
    memory = options.compile_memory
    return CompileLimits(options.compile_timeout, None if memory is None else int(memory))


def _ask(options: argparse.Namespace) -> Ask | None:
    if not options.prompt:
        return None
    from wasmos.cli.prompt import asking

    return asking(options.module, options.policy)


def unusual_memory(options: argparse.Namespace) -> str | None:
    """How much memory was said, for a command that is advised; None: as much as without a word."""
    from wasmos.system import units

    size = memory_bytes(options)
    return None if size == LIMITS.memory_bytes else units.written_size(size)


def rules(texts: Iterable[str], flag: str) -> list[Said]:
    """What a flag lists, each with where it was said. Raises RuleError."""
    found = []
    for text in texts:
        origin = getattr(text, "origin", flag)
        # Most are names of services, and need no more than that.
        plain = not set(text) & set("(\"'[") and text.strip()
        each = text.split(",") if plain or not text else split_rules(text)
        found += [Said(rule.strip(), origin) for rule in each]
    return found


def _note_memory(exit: Exit, log: Callable[[str], object]) -> None:
    """A refusal that nobody hears of but the program, and few programs say why they end then."""
    if exit.may_lack_memory:
        from wasmos.system.units import show_size, written_size

        had, most = show_size(exit.memory_bytes), show_size(exit.memory_limit)
        log(
            f"note: {exit.name} may have been refused memory: it had {had}, of {most} at most; "
            f"to allow more: --max-memory {written_size(2 * exit.memory_limit)}"
        )


def _note_denials(completed: Completed, policy: str | None, log: Callable[[str], object]) -> None:
    """Say what was refused, and what would allow it."""
    name = completed.exit.name
    # Who is given no arguments misses nothing.
    denied = [name for name in completed.denied if name != "args"]
    rules = completed.denied_by
    if unknown := [each for each in denied if each not in rules]:
        names = ", ".join(each if each.isprintable() else repr(each) for each in unknown)
        wanted = " ".join(f"--allow {each}" for each in unknown if each in SERVICES)
        log(f"note: {name} was refused {names}" + (wanted and f"; to allow: {wanted}"))
        if "fs" in unknown:
            log(f"  {IN_MEMORY}")
    for each in denied:
        if (grant := rules.get(each)) is not None:
            what = each if each.isprintable() else repr(each)
            remedy = _lift(grant, each, name, policy) if grant.deny else _again(grant, name)
            _note(log, completed.exit, what, _said(REASONS[grant.cause], grant), remedy)
    denials = _worth_a_note(completed.denials)
    for denial in denials[:MAX_NOTES]:
        reason = _said(denial.reason, denial.grant)
        _note(log, completed.exit, denial.rule, reason, _remedy(denial, policy))
        if denial.service == "fs" and denial.cause in UNMET:
            log(f"  {IN_MEMORY}")
    if (more := len(denials) - MAX_NOTES) > 0:
        log(f"note: and {more} more")


def _note_lacks(completed: Completed, log: Callable[[str], object]) -> None:
    """A program that was given no directory finds none of its files, and can't tell why."""
    for each in completed.lacked:
        what, flag = LACKS[each]
        log(f"note: {completed.exit.name} was given no {what}; to give it one: {flag}")


def _worth_a_note(denials: list[Denial]) -> list[Denial]:
    """Without those that nobody misses anything by."""
    if not denials:
        return []
    from wasmos.system.policy.rights import looks_around

    return [denial for denial in denials if not looks_around(denial)]


def _note(log: Callable[[str], object], exit: Exit, what: str, reason: str, remedy: str) -> None:
    log(f"note: {exit.name} was refused {what}")
    log(f"  asked by  task {exit.task} {exit.name!r}")
    log(f"  rule      {reason}")
    log(f"  to allow  {remedy}")


def _said(reason: str, grant: Grant | None) -> str:
    return reason if grant is None else f"{reason}: {grant.rule}    ({grant.origin})"


def _lift(grant: Grant, rule: str, name: str, policy: str | None) -> str:
    """How to be rid of a deny rule, to have what a rule is for."""
    from wasmos.system.audit import remedy
    from wasmos.system.prompt import ORIGIN as PROMPT

    if grant.origin == PROMPT:
        return f"answer otherwise the next time, or {_to_add(rule, name, policy)}"
    if remedy.is_control(grant.origin):
        return "somebody said wasmos deny while it ran: start it anew"
    return f"take out {grant.rule} ({grant.origin})"


def _again(grant: Grant, name: str) -> str:
    """How to have what has ended. Here no task gives others anything."""
    from wasmos.system.audit import remedy

    return remedy.again(grant.state, str(grant.rule), grant.origin, name)


def _remedy(denial: Denial, policy: str | None) -> str:
    grant = denial.grant
    if denial.cause == "denied" and grant is not None:
        return _lift(grant, denial.rule, denial.name, policy)
    if grant is not None and denial.cause == grant.state:
        return _again(grant, denial.name)
    if denial.cause == "server" and (about := _badge(denial)):
        return about
    if denial.service not in SERVICES:
        return f"nothing here is the service {denial.service}; boot a system that has it"
    if denial.message == "tcpip.listen":  # a port of the guest's has to be one of the host's, too
        return _port(denial, policy)
    return _to_add(denial.rule, denial.name, policy)


def _badge(denial: Denial) -> str:
    """What to do about a badge that a service refused by. Here no task gives others anything."""
    from wasmos.system.audit import remedy

    grant = denial.grant
    return "" if grant is None else remedy.badge(str(grant.rule), grant.origin, denial.reason)


def _port(denial: Denial, policy: str | None) -> str:
    from wasmos.system import flags

    guest = denial.fields.get("listen_port", 80)
    host = flags.host_port(guest)
    if policy is None:
        return f"--listen {host}:{guest}"
    rule = f'tcpip.listen(bind="127.0.0.1:{host}", listen_port={guest})'
    return _to_add(rule, denial.name, policy)


def _to_add(rule: str, name: str, policy: str | None) -> str:
    if policy is None:
        import shlex

        return f"--allow {shlex.quote(rule)}"
    from wasmos.system.policy.edit import heading
    from wasmos.system.policy.policy import toml_string

    return f"add  {toml_string(rule)}  to {heading('task', name)} in {policy}"
