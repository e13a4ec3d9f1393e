"""`wasmos learn`: run a program, and write the policy that it needed."""

from __future__ import annotations

import os
import shlex
import sys

from wasmos.cli import end_in_order, prompt, say
from wasmos.cli.progress import progress
from wasmos.cli.run import compile_limits, limits, rules, unusual_memory
from wasmos.errors import ManifestError, UsageError
from wasmos.system.learn.learn import Learnt, learn
from wasmos.system.policy import edit as policy_edit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

STDOUT = "-"
WARNING = (
    "learning: it may do everything, reach every host that this one can and, unless it is",
    "  for WASI, read this environment; --deny or --ask, if it isn't to be trusted so far.",
    "  Ctrl-C ends it",
)


def main(options: argparse.Namespace) -> int:
    path = options.output or f"{_stem(options.module)}.policy.toml"
    _check(path, options)
    allow = rules(options.allow, "--allow")
    if allow and not options.ask:
        raise UsageError(
            f"{allow[0].origin} goes with --ask, and says what isn't asked about; without it "
            "everything is allowed but what --deny says"
        )
    ask = prompt.asking(options.module, None, keeps=False) if options.ask else None
    if options.ask and ask is None:
        raise UsageError("--ask needs a terminal to ask on; without it everything is allowed")
    if ask is None and not options.quiet:
        for line in WARNING:
            say(line)
    end_in_order()
    found = learn(
        options.module,
        options.args,
        ask=ask,
        allow=allow,
        deny=rules(options.deny, "--deny"),
        generalise=options.generalise,
        dirs=options.dir,
        files=options.files,
        max_open_files=options.max_open_files,
        listen=options.listen,
        env=options.env,
        argv0=options.argv0,
        timeout=options.timeout,
        limits=limits(options),
        compile_limits=compile_limits(options),
        cache=not options.no_cache,
        progress=progress(options.quiet),
        input=sys.stdin.buffer,
        # What is printed there is the policy, and nothing else.
        output=sys.stderr.buffer if path == STDOUT else None,
        log=lambda line: None if options.quiet else say(line),
    )
    _write(path, found, options)
    # That it was ended from outside is how learning from a server ends.
    ended = found.exit is None or found.exit.cause == "deadline"
    return 0 if ended or found.exit is None else found.exit.status


def _stem(module: str) -> str:
    return prompt.file_name(os.path.splitext(os.path.basename(module))[0])


def _check(path: str, options: argparse.Namespace) -> None:
    """Before the program runs, and not when there is something to lose."""
    if path == STDOUT:
        return
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{path}: there is no directory {folder}; make it")
    if os.path.exists(path) and not (options.force or options.merge):
        raise UsageError(f"{path} is there already; --force replaces it, --merge adds to it")


def _write(path: str, found: Learnt, options: argparse.Namespace) -> None:
    if path == STDOUT:
        sys.stdout.buffer.write(found.policy.encode())  # TOML is UTF-8, wherever we are
        return
    if options.merge and os.path.exists(path):
        added = _merge(path, found)
        done = f"{path}: {_rules(added)} more" if added else f"{path}: nothing new"
        once = [f"allowed once, and not added: {line.rule}" for line in found.once]
    else:
        policy_edit.replace(path, found.policy)
        done = f"{path}: {_rules(len(found.lines))}"
        once = []
        if found.once:
            done += f", and {len(found.once)} as comments, which you allowed once"
    if options.quiet:
        return
    for note in once:
        say(f"note: {note}")
    for note in found.notes:
        say(f"note: not allowed there: {note}")
    say(f"{done}; try: {shlex.join(_again(path, options))}")


def _again(policy: str, options: argparse.Namespace) -> list[str]:
    """The command for such a run by the policy, with what it takes besides that no policy has. What
    ended this run isn't part of it; what the environment said, which may be secret, it will say
    again."""
    flags = {
        "--listen": _ambiguous(options.listen),
        "--argv0": [options.argv0],
        "--env": [text for text in options.env if "=" in text],
        "--files": [options.files],
        "--max-open-files": [options.max_open_files],
        "--max-memory": [unusual_memory(options)],
    }
    words = ["wasmos", "run", "--policy", policy]
    for flag, values in flags.items():
        for value in values:
            if value is not None and not hasattr(value, "origin"):
                # Only so can it begin with a dash.
                words += [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]
    # One `--` is dropped, wherever it stands.
    is_needed = options.module.startswith("-") or options.args[:1] == ["--"]
    return [*words, *(["--"] if is_needed else []), options.module, *options.args]


def _ambiguous(listen: list[str]) -> list[str]:
    """Of a port of the program's that is at several places a rule can say one."""
    guests = [text.rpartition(":")[2] for text in listen]
    return [text for text, guest in zip(listen, guests, strict=True) if guests.count(guest) > 1]


def _rules(count: int) -> str:
    return f"{count} rule{'' if count == 1 else 's'}"


def _merge(path: str, found: Learnt) -> int:
    """How many rules are new there. All of them or none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8, which TOML is, at byte {error.start}") from None
    lines = [("allow", line.rule, line.comment) for line in found.lines]
    lines += [("deny", rule, "") for rule in found.deny]
    count = 0
    for key, rule, comment in lines:
        longer = policy_edit.added(text, found.name, str(rule), comment=comment, key=key, path=path)
        count += longer is not None
        text = text if longer is None else longer
    policy_edit.replace(path, text)
    return count
