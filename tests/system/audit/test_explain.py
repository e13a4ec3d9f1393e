"""One line explained, from the lines around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import call, denial, log_files, rows, written
from wasmos.system.audit.explain import explain
from wasmos.system.audit.schema import CAUSES

RULE = "tcpip.listen(listen_port=80)"
WEB = {"task": 9, "name": "webapi"}
ROOT = {
    "event": "grant",
    "task": 3,
    "name": "init",
    "grant": 4,
    "rule": "tcpip",
    "origin": "policy.toml:7",
}
MIDDLE = {"event": "delegate", "task": 5, "name": "shell", "grant": 7, "parent": 4, "by": 3,
          "rule": "tcpip.listen"}  # fmt: skip
LEAF = {"event": "delegate", **WEB, "grant": 12, "parent": 7, "by": 5, "rule": RULE}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def told(path: Path, *records: dict[str, Any], after: tuple[dict[str, Any], ...] = ()) -> list[str]:
    """The explanation of the last of `records`, without its first line's number and time."""
    for old in path.parent.glob("audit.jsonl*"):
        old.unlink()
    written(path, [*records], [*after])
    seq = len(records) + 1
    found = explain(path, seq)
    assert found is not None
    begin = f"line {seq}, {rows(path)[seq - 1]['time']}: "
    assert found[0].startswith(begin)
    return [found[0].removeprefix(begin), *found[1:]]


def test_a_denial_without_any_capability(path: Path) -> None:
    assert told(path, {**ROOT, **WEB, "rule": "console"}, denial()) == [
        "webapi was refused tcpip.listen(listen_port=80)",
        "  asked by  task 9 'webapi'",
        "  message   tcpip.listen(listen_port=80)",
        "  decision  denied: it holds no capability for this service",
        "  rule      none grants it",
        '  to allow  add  "tcpip.listen(listen_port=80)"  to [task.webapi] in policy.toml',
    ]


def test_a_task_that_became_a_service(path: Path) -> None:
    record = {"event": "register", "task": 2, "name": "console", "service": "console"}
    assert told(path, record) == [
        "a task became a service", "  task      task 2 'console'", "  service   console",
    ]  # fmt: skip


def test_a_denial_with_a_near_miss(path: Path) -> None:
    record = denial(cause="field", grant=12, count=3)
    leaf = {**LEAF, "rule": "tcpip.listen(listen_port=[81, 82])"}
    assert told(path, ROOT, MIDDLE, leaf, record) == [
        "webapi was refused tcpip.listen(listen_port=80)",
        "  asked by  task 9 'webapi'",
        "  message   tcpip.listen(listen_port=80)",
        "  count     3 times in a row",
        "  decision  denied: it holds a capability for this message, but not with these fields",
        "  rule      tcpip.listen(listen_port=[81, 82])",
        "  through   grant 12 of task 9 'webapi': tcpip.listen(listen_port=[81, 82]),"
        " given by task 5 'shell' in line 4",
        "  from      grant 7 of task 5 'shell': tcpip.listen, given by task 3 'init' in line 3",
        "  from      grant 4 of task 3 'init': tcpip  (policy.toml:7),"
        " given by the operator in line 2",
        '  to allow  add  "tcpip.listen(listen_port=80)"  to [task.webapi] in the policy file',
    ]


def test_a_deny_rule(path: Path) -> None:
    deny = {"event": "deny", **WEB, "grant": 13, "rule": "tcpip.listen", "origin": "deny.toml:3"}
    lines = told(path, ROOT, deny, denial(cause="denied", grant=13))
    assert lines[3:] == [
        "  decision  denied: a deny rule forbids it",
        "  rule      deny tcpip.listen  (deny.toml:3)",
        "  through   grant 13 of task 9 'webapi': tcpip.listen  (deny.toml:3),"
        " given by the operator in line 3",
        "  to allow  take the deny rule out of deny.toml:3; no other rule can win against it",
    ]


WINS = "; no other rule can win against it"
NO_ORIGIN = "take the deny rule back where it was set: nothing says where, as with kernel.deny"
LIFTED = {
    "deny.toml:3": "take the deny rule out of deny.toml:3",
    "--deny": "start it without this rule in --deny",
    "--connect none": "start it without --connect none",
    "WASMOS_DENY": "take the deny rule out of WASMOS_DENY in the environment",
    "deny=": "take the deny rule out of deny= where Python runs it",
    "prompt": "somebody answered [N]ever: start it anew, or say  wasmos revoke 13  while it runs",
    "control": "somebody said wasmos deny: start it anew, or say  wasmos revoke 13  while it runs",
    "control (pid 7)": "somebody said wasmos deny: start it anew, or say  wasmos revoke 13  "
    "while it runs",
    "the shell": "somebody said deny in the shell: start it anew, or say  revoke 13  there",
    "": NO_ORIGIN,
    "job 12": "take the deny rule back where it was set: job 12",
    "a.toml:x": "take the deny rule back where it was set: a.toml:x",
}


@pytest.mark.parametrize("origin", LIFTED)
@pytest.mark.parametrize("where", ["the denial", "the rule's own line"])
def test_what_would_lift_a_deny_rule(path: Path, origin: str, where: str) -> None:
    """It depends on who said it. The origin stands in the line, or only where the rule was set."""
    deny = {"event": "deny", **WEB, "grant": 13, "rule": "tcpip.listen", "origin": origin}
    record = denial(cause="denied", grant=13)
    if where == "the denial":
        record |= {"rule": "tcpip.listen", "origin": origin}
    lines = told(path, {**ROOT, **WEB, "origin": "--allow"}, deny, record)
    assert lines[-1] == f"  to allow  {LIFTED[origin]}{WINS}"


def test_a_deny_rule_that_the_log_does_not_tell_of(path: Path) -> None:
    lines = told(path, denial(cause="denied"))
    assert lines[-1] == f"  to allow  {NO_ORIGIN}{WINS}"


ADD = 'add  "console.write"  to '
FLAG = "--allow console.write"
GRANT = "wasmos grant webapi console.write"
ALLOWED = {
    "policy.toml:12": f"{ADD}[task.webapi] in policy.toml",
    "--allow": FLAG,
    "--connect": FLAG,
    "WASMOS_ALLOW": FLAG,
    "allow=": f"{ADD}allow= where Python runs it",
    "control (pid 7)": f"{GRANT}  while it runs",
    "the shell": f"{GRANT}  while it runs",
    "prompt": f"{ADD}[task.webapi] in the policy file",
    "": f"{ADD}[task.webapi] in the policy file",
}


@pytest.mark.parametrize("origin", ALLOWED)
def test_what_would_allow_it(path: Path, origin: str) -> None:
    """There where its other rules were said."""
    own = {**ROOT, **WEB, "origin": origin}
    record = denial(service="console", message="console.write", fields={})
    assert told(path, own, record)[-1] == f"  to allow  {ALLOWED[origin]}"


def test_a_file_comes_first_and_then_a_flag(path: Path) -> None:
    others = [
        {**ROOT, **WEB, "grant": 20 + number, "origin": origin}
        for number, origin in enumerate(("control", "--allow", "prompt"))
    ]
    lines = told(path, *others, denial())
    assert lines[-1] == "  to allow  --listen 8080:80"  # it has to be a port of the host's, too
    assert told(path, *others, {**ROOT, **WEB}, denial())[-1].endswith(" in policy.toml")
    # Another task's rules say nothing about this one.
    other = {**ROOT, "origin": "--allow"}
    assert told(path, other, denial())[-1].endswith(" in the policy file")


@pytest.mark.parametrize("origin", ["policy.toml:12", "prompt"])
def test_a_name_that_needs_quotes_in_toml(path: Path, origin: str) -> None:
    """What is said can be copied into the file, and means this task there."""
    own = {**ROOT, **WEB, "name": "my web\n[run]", "origin": origin}
    record = {**denial(service="console", message="console.write", fields={}), "name": own["name"]}
    advice = told(path, own, record)[-1]
    assert advice.startswith("  to allow  " + ADD + '[task."my web\\U0000000a[run]"] in ')


def test_a_rule_with_quotes_is_still_toml(path: Path) -> None:
    record = denial(service="fs", message="fs.open", fields={"path": "/a"})
    assert told(path, {**ROOT, **WEB}, record)[-1] == (
        """  to allow  add  'fs.open(path="/a")'  to [task.webapi] in policy.toml"""
    )


def test_a_revoked_grant(path: Path) -> None:
    """`by` is who it came from: who took it back can be somebody else, and isn't in the log."""
    revoke = {"event": "revoke", "task": 5, "grant": 7, "by": 3, "reason": "enough"}
    lines = told(path, ROOT, MIDDLE, LEAF, revoke, denial(cause="revoked", grant=12))
    time = rows(path)[4]["time"]
    assert f"            grant 7 was revoked at {time}, line 5: enough" in lines
    assert lines[3] == "  decision  denied: its capability was revoked"


@pytest.mark.parametrize(
    ("event", "word"), [("revoke", "revoked"), ("expire", "expired"), ("spend", "used up")]
)
def test_a_grant_that_ended_later(path: Path, event: str, word: str) -> None:
    end = {"event": event, **WEB, "grant": 12}
    lines = told(path, ROOT, MIDDLE, LEAF, call(), after=(end,))
    assert lines[:5] == [
        "a message was delivered",
        "  asked by  task 9 'webapi'",
        "  message   tcpip.write(sock=0)",
        "  decision  allowed",
        "  rule      tcpip.listen(listen_port=80)",
    ]
    assert lines[6].startswith(f"            grant 12 was {word} at 2026-") and lines[6].endswith(
        "line 6"
    )
    assert not any("to allow" in line for line in lines)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause(path: Path, cause: str) -> None:
    lines = told(path, ROOT, LEAF, denial(cause=cause, grant=12, reason="no luck"))
    assert f"  decision  denied: {CAUSES[cause]}" in lines
    assert "  reason    no luck" in lines
    assert any("to allow" in line for line in lines) == (cause != "server")


@pytest.mark.parametrize(
    ("event", "cause", "word", "origin", "advice"),
    [
        ("revoke", "revoked", "revoked", "policy.toml:7", "don't take it back, or grant it again"),
        ("revoke", "revoked", "revoked", "standard for WASI", "don't take it back, or grant it"),
        ("expire", "expired", "expired", "--allow", "let it last longer, or grant it again"),
        ("spend", "spent", "used up", "--allow", "let it be used more often, or grant it again"),
        ("spend", "spent", "used up", "prompt", "answer [r]un in place of [o]nce"),
    ],
)
def test_what_granted_it_has_ended(
    path: Path, event: str, cause: str, word: str, origin: str, advice: str
) -> None:
    """A rule more isn't the advice: there was one."""
    root = {**ROOT, **WEB, "rule": RULE, "origin": origin}
    record = denial(cause=cause, grant=4, rule=RULE, origin=origin)
    lines = told(path, root, {"event": event, **WEB, "grant": 4}, record)
    time = rows(path)[2]["time"]
    assert f"  rule      {RULE}  ({origin})" in lines
    assert lines[-2] == f"            grant 4 was {word} at {time}, line 3"
    assert lines[-1].startswith(f"  to allow  {advice}")
    if "grant" in advice:
        assert lines[-1].endswith(f" while it runs: wasmos grant webapi '{RULE}'")
    assert "policy" not in lines[-1]


def test_what_was_passed_on_has_ended(path: Path) -> None:
    end = {"event": "revoke", "task": 3, "grant": 4}
    lines = told(path, ROOT, MIDDLE, LEAF, end, denial(cause="revoked", grant=12, rule=RULE))
    assert lines[-1] == ("  to allow  task 5 'shell' passed it on: it would have to do so again")


def test_a_service_that_refused(path: Path) -> None:
    record = denial(cause="server", reason="10.0.0.1 is private")
    assert told(path, record) == [
        "webapi was refused tcpip.listen(listen_port=80)",
        "  asked by  task 9 'webapi'",
        "  message   tcpip.listen(listen_port=80)",
        "  reason    10.0.0.1 is private",
        "  decision  denied: the service refused it",
    ]


RO = 'fs(dir="/srv", at="/data", mode="ro")'
READS = {"event": "grant", **WEB, "grant": 12, "service": "fs", "rule": RO}


@pytest.mark.parametrize(
    ("origin", "advice"),
    [
        ("policy.toml:7", f"""take  mode="ro"  out of  {RO}  (policy.toml:7), """
         "and out of the task's `use` if a manifest asks for it"),
        ("--dir", "--dir /srv::/data  in place of the one that ends in :ro"),
        ("--allow", f"""--allow 'fs(dir="/srv", at="/data")'  in place of  {RO}"""),
        ("the shell", f"""take  mode="ro"  out of  {RO}  (the shell)"""),
    ],
)  # fmt: skip
def test_a_badge_that_a_service_refused_by(path: Path, origin: str, advice: str) -> None:
    record = denial(cause="server", reason='it is for reading: mode="ro"', grant=12, rule=RO)
    lines = told(path, READS | {"origin": origin}, record)
    assert lines[-1] == f"  to allow  {advice}"
    other = denial(cause="server", reason="no such port", grant=12, rule=RO)
    assert "to allow" not in told(path, READS | {"origin": origin}, other)[-1]


def test_a_link_that_leads_out(path: Path) -> None:
    """No rule would let it: nothing is said of one, whatever the directory is for."""
    for rule in (RO, 'fs(dir="/srv", at="/data")', "fs"):
        record = denial(cause="server", reason="/x leads out of what was granted", grant=12)
        lines = told(path, READS | {"rule": rule, "origin": "--dir"}, record)
        assert lines[-1].startswith("  to allow  no rule can: "), lines
    # A path is the guest's choice, and isn't what says so.
    record = denial(cause="server", reason="leads out of what was granted/x", grant=12)
    assert "no rule can" not in told(path, READS, record)[-1]


def test_a_badge_that_was_narrowed(path: Path) -> None:
    """Whoever made it so is who can give more."""
    record = denial(cause="server", reason='it is for reading: mode="ro"', grant=12, rule=RO)
    leaf = {**LEAF, "rule": RO}
    wide = {**MIDDLE, "rule": 'fs(dir="/srv", at="/data")'}
    assert told(path, ROOT, wide, leaf, record)[-1] == (
        """  to allow  task 5 'shell' passed it on with  mode="ro": it would have to give more"""
    )


def test_a_grant(path: Path) -> None:
    assert told(path, ROOT, MIDDLE) == [
        "a capability was passed on to a task",
        "  task      task 5 'shell'",
        "  rule      tcpip.listen",
        "  through   grant 7 of task 5 'shell': tcpip.listen, given by task 3 'init' in line 3",
        "  from      grant 4 of task 3 'init': tcpip  (policy.toml:7),"
        " given by the operator in line 2",
    ]


def test_the_names_of_tasks_come_from_other_lines(path: Path) -> None:
    spawn = {"event": "spawn", **WEB}
    anonymous = {key: value for key, value in denial().items() if key != "name"}
    lines = told(path, spawn, anonymous)
    assert lines[0] == "9 'webapi' was refused tcpip.listen(listen_port=80)"
    assert lines[1] == "  asked by  task 9 'webapi'"


def test_what_the_log_does_not_tell(path: Path) -> None:
    lines = told(path, call())
    assert "  through   grant 12, which this log doesn't tell of" in lines
    written(path, *[[call()] for _ in range(9)], max_bytes=300, keep=1)
    last = [row for file in log_files(path) for row in rows(file) if row["event"] == "call"][-1]
    found = explain(path, last["seq"])
    assert found is not None
    assert "  through   grant 12, which was made before this log begins" in found


def test_another_run_has_other_grants(path: Path) -> None:
    """Numbers begin anew with every run, before and after the one in question."""
    written(path, [{**ROOT, "rule": "older", "grant": 12}])
    written(path, [{**ROOT, "grant": 12}, call()])
    written(path, [{"event": "revoke", "grant": 12}])
    found = explain(path, 6)
    assert found is not None
    assert not any("older" in line or "revoked" in line for line in found)
    assert any("tcpip  (policy.toml:7)" in line for line in found)


def test_a_run_goes_on_in_other_files(path: Path) -> None:
    written(path, [ROOT], [MIDDLE], [LEAF], [call()], max_bytes=100, keep=20)
    seq = rows(Path(f"{path}.1"))[-1]["seq"]
    found = explain(path, seq)
    assert found is not None
    assert sum("grant" in line for line in found) == 3


def test_a_circle_in_the_log(path: Path) -> None:
    lines = told(path, {**ROOT, "parent": 7}, MIDDLE, call(grant=7))
    assert sum(line.startswith(("  through", "  from")) for line in lines) == 2


@pytest.mark.parametrize("value", [None, "x", [], {}, -1, 1.5, True])
@pytest.mark.parametrize(
    "key", ["grant", "parent", "by", "task", "rule", "origin", "cause", "decision", "fields"]
)
def test_nonsense_is_explained_too(path: Path, key: str, value: object) -> None:
    """The file may be anybody's."""
    import json

    records = [ROOT, {**LEAF, key: value}, denial(**{"grant": 12, key: value})]
    path.write_text("".join(f"{json.dumps({'seq': at, **r})}\n" for at, r in enumerate(records)))
    for seq in range(3):
        assert explain(path, seq)


def test_no_such_line(path: Path) -> None:
    written(path, [call()])
    assert explain(path, 99) is None
    assert explain(path, 0) is None
