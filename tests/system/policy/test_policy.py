"""Policies: what is granted, with which origin, and what is said when it isn't enough."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmos import ManifestError
from wasmos.errors import NotGranted
from wasmos.kernel import Rule
from wasmos.system.manifest.manifest import Manifest, load
from wasmos.system.policy.policy import beside, for_run, forbids, toml_string

Load = Callable[..., Manifest]
WEB = "tcpip.listen(listen_port=80)"


@pytest.fixture
def granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a manifest and a policy, from where they are."""
    monkeypatch.chdir(tmp_path)

    def granted(manifest: str, policy: str | None, name: str = "system.toml") -> Manifest:
        (tmp_path / name).write_text(manifest)
        if policy is not None:
            (tmp_path / beside(name)).write_text(policy)
        return load(name)

    return granted


def rights(manifest: Manifest, task: str) -> list[tuple[str, str]]:
    return [(str(right.rule), right.origin) for right in manifest.tasks[task].allow]


def refusal(granted: Load, *files: str | None, **options: str) -> list[str]:
    with pytest.raises(NotGranted) as caught:
        granted(*files, **options)
    return str(caught.value).splitlines()


# --- what is granted ----------------------------------------------------------------------------


def test_a_task_gets_what_it_asks_for_and_not_what_it_could_get(granted: Load) -> None:
    manifest = granted(
        f"[task.web]\nuse = ['{WEB}', 'console.write']",
        "[task.web]\nallow = [\n  'fs',\n  'tcpip',\n  'console', # all of it\n]",
    )
    assert rights(manifest, "web") == [(WEB, "policy.toml:4"), ("console.write", "policy.toml:5")]


@pytest.mark.parametrize(
    ("use", "allow"),
    [
        ("console", ["*"]),
        (WEB, ["tcpip"]),
        (WEB, ["tcpip.listen"]),
        (WEB, ["tcpip.listen(listen_port=[80, 443])"]),
        ("tcpip.connect", ["tcpip.connect"]),
        ('tcpip.connect(dst_addr="10.1.0.0/16")', ['tcpip.connect(dst_addr="10.0.0.0/8")']),
        ("console for 5s", ["console for 60s"]),
        ("console once", ["console"]),
        ("vm.service_register", ["vm"]),
        ('vm.service_register(name="web")', ["vm.service_register"]),
        ("fs.read", ["fs.open"]),
    ],
)
def test_what_covers_what(granted: Load, use: str, allow: list[str]) -> None:
    manifest = granted(f"[task.web]\nuse = ['{use}']", f"[task.web]\nallow = {allow!r}")
    assert rights(manifest, "web") == [(str(Rule.parse(use)), "policy.toml:2")]


@pytest.mark.parametrize(
    ("use", "allow"),
    [
        ("*", ["console", "vm"]),
        ("tcpip", [WEB]),
        ("tcpip.listen", [WEB]),
        ('tcpip.connect(dst_addr="10.0.0.1")', ["tcpip"]),  # it isn't a public one
        ("console", ["console for 60s"]),
        ("console", ["console.write", "console.read"]),  # it may have more messages one day
        ('vm.service_register(name="other")', ["vm"]),
        ("fs.write", ["fs.open"]),
        ("console", ['fs(mode="ro")']),
        ('fs(dir="/")', ["*", "fs"]),  # the host's directories have to be named
        ('fs(dir="/")', ['fs(dir="/", mode="ro")']),
    ],
)
def test_what_does_not_cover_what(granted: Load, use: str, allow: list[str]) -> None:
    lines = refusal(granted, f"[task.web]\nuse = ['{use}']", f"[task.web]\nallow = {allow!r}")
    assert lines[0] == "web asks for what no policy grants"


def test_directories_are_compared_as_places(granted: Load, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "policies").mkdir()
    policy = '[task.a]\nallow = [\'fs(dir="../data", at="/data")\']'
    (tmp_path / "policies" / "p.toml").write_text(policy)
    manifest = granted(
        "[system]\npolicy = 'policies/p.toml'\n"
        '[task.a]\nuse = [\'fs(dir="./data/", at="/data", mode="ro")\']',
        None,
    )
    rule = f'fs(dir="{tmp_path}/data", at="/data", mode="ro")'
    assert rights(manifest, "a") == [(rule, "policies/p.toml:2")]


def test_deny_rules_are_kept_with_their_lines(granted: Load) -> None:
    manifest = granted(
        "[task.a]\nuse = ['tcpip']\n[task.b]\n[spawn]\nuse = ['console']",
        "[default]\ndeny = ['vm.destroy_task']\n[task.a]\nallow = ['tcpip']\n"
        "deny = ['tcpip.listen']\n[spawn]\nallow = ['console']",
    )

    def denied(plan: object) -> list[tuple[str, str]]:
        return [(str(right.rule), right.origin) for right in plan.deny]  # type: ignore[attr-defined]

    default = ("vm.destroy_task", "policy.toml:2")
    assert denied(manifest.tasks["a"]) == [default, ("tcpip.listen", "policy.toml:5")]
    assert denied(manifest.tasks["b"]) == denied(manifest.spawn) == [default]
    assert [str(right.rule) for right in manifest.spawn.allow] == ["console"]


def test_who_asks_for_nothing_needs_no_policy(granted: Load) -> None:
    assert rights(granted("[task.a]\n[task.b]\nuse = []", None), "a") == []


# --- which file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "policy"),
    [
        ("system.toml", "policy.toml"), ("web.toml", "web.policy.toml"),
        ("/a/system.toml", "/a/policy.toml"), ("a/b.c.toml", "a/b.c.policy.toml"),
    ],
)  # fmt: skip
def test_the_policy_beside(manifest: str, policy: str) -> None:
    assert beside(manifest) == policy


def test_which_policy_counts(granted: Load, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text("[task.a]\nallow = ['console']")
    manifest = "[task.a]\nuse = ['console']"
    named = f"[system]\npolicy = 'one.toml'\n{manifest}"
    beside = "[task.a]\n\nallow = ['console']"
    assert rights(granted(manifest, beside), "a")[0][1] == "policy.toml:3"
    assert rights(granted(named, beside), "a")[0][1] == "one.toml:2"
    assert rights(load("system.toml", "two.toml"), "a")[0][1] == "two.toml:2"


def test_a_policy_that_was_named_has_to_be_there(granted: Load) -> None:
    with pytest.raises(ManifestError, match=r"^none\.toml: no such file or directory$"):
        granted("[system]\npolicy = 'none.toml'", None)
    with pytest.raises(ManifestError, match=r"^other\.toml: no such file or directory$"):
        load("system.toml", "other.toml")


# --- what is missing ----------------------------------------------------------------------------


def test_a_section_without_allow(granted: Load) -> None:
    manifest = f"# a comment\n[task.webapi]\nuse = [\n  'console',\n  '{WEB}',\n]"
    assert refusal(granted, manifest, "[task.webapi]\ndeny = ['fs']\n[spawn]") == [
        "webapi asks for what no policy grants",
        "  asked    console                         (system.toml:4)",
        "  asked    tcpip.listen(listen_port=80)    (system.toml:5)",
        "  to allow add to [task.webapi] in policy.toml:",
        "      allow = [",
        '          "console",',
        '          "tcpip.listen(listen_port=80)",',
        "      ]",
    ]


def test_an_allow_that_is_too_short(granted: Load) -> None:
    manifest = f"[task.webapi]\nuse = ['console', '{WEB}']"
    assert refusal(granted, manifest, "[task.webapi]\nallow = ['console.write']\n") == [
        "webapi asks for what no policy grants",
        "  asked    console                         (system.toml:2)",
        "  asked    tcpip.listen(listen_port=80)    (system.toml:2)",
        "  to allow add to `allow` of [task.webapi] in policy.toml:",
        '      "console",',
        '      "tcpip.listen(listen_port=80)",',
    ]


def test_all_that_is_missing_is_said_at_once(granted: Load) -> None:
    manifest = (
        "[task.a]\nuse = ['console']\n[task.ok]\nuse = ['fs']\n"
        '[task."b c"]\nuse = [\'tcpip.dns_resolve(hostname="x.com")\']\n'
        "[spawn]\nuse = ['vm']"
    )
    assert refusal(granted, manifest, "[task.ok]\nallow = ['fs']", name="my.toml") == [
        "a asks for what no policy grants",
        "  asked    console    (my.toml:2)",
        "  to allow add to my.policy.toml:",
        "      [task.a]",
        '      allow = ["console"]',
        "b c asks for what no policy grants",
        '  asked    tcpip.dns_resolve(hostname="x.com")    (my.toml:6)',
        "  to allow add to my.policy.toml:",
        "      [task.'b c']",
        "      allow = ['tcpip.dns_resolve(hostname=\"x.com\")']",
        "spawn asks for what no policy grants",
        "  asked    vm    (my.toml:8)",
        "  to allow add to my.policy.toml:",
        "      [spawn]",
        '      allow = ["vm"]',
    ]


def test_no_policy_at_all_and_what_it_says_is_the_file_to_write(
    granted: Load, tmp_path: Path
) -> None:
    manifest = f"[task.a]\nuse = ['{WEB}', 'fs.open(path=\"/x\\'y\")']\n[spawn]\nuse = ['*']"
    manifest = manifest.replace("'fs.open(path=\"/x\\'y\")'", "\"fs.open(path='/x')\"")
    lines = refusal(granted, manifest, None)
    assert lines == [
        "system.toml asks for rights, and there is no policy that grants any",
        "  asked    a: tcpip.listen(listen_port=80)    (system.toml:2)",
        '  asked    a: fs.open(path="/x")              (system.toml:2)',
        "  asked    spawn: *                           (system.toml:4)",
        "  to allow all of that write policy.toml:",
        "      [task.a]",
        "      allow = [",
        '          "tcpip.listen(listen_port=80)",',
        "          'fs.open(path=\"/x\")',",
        "      ]",
        "      [spawn]",
        '      allow = ["*"]',
    ]
    (tmp_path / "policy.toml").write_text("\n".join(lines[5:]))
    assert len(rights(load("system.toml"), "a")) == 2


def test_what_is_denied_altogether(granted: Load) -> None:
    manifest = f"[task.a]\nuse = ['console',\n'{WEB}']"
    policy = "[default]\ndeny = [\n'tcpip.listen(listen_port=..1023)']\n[task.a]\nallow = ['*']"
    assert refusal(granted, manifest, policy) == [
        "a asks for what the policy denies",
        "  asked    tcpip.listen(listen_port=80)        (system.toml:3)",
        "  denied   tcpip.listen(listen_port=..1023)    (policy.toml:3)",
        "  to start it take one of these two lines out",
    ]


@pytest.mark.parametrize(
    ("deny", "rule", "all_of_it"),
    [
        ("*", "console", True), ("console", "console", True), ("console", "console.write", True),
        ("console.write", "console.write", True), ("console.write", "console", False),
        ("console.write", "console.read", False), ("console", "fs", False), ("console", "*", False),
        ("tcpip.listen", WEB, True), (WEB, "tcpip.listen", False), (WEB, WEB, True),
        ("tcpip.write", WEB, False), ("tcpip.listen", "tcpip.write", False),
        ("tcpip.connect", 'tcpip.connect(dst_addr="10.0.0.1")', True),
        ('tcpip.connect(dst_addr="all")', "tcpip.connect", True),
        ('tcpip.connect(dst_addr="10.0.0.0/8")', "tcpip.connect", False),
        ("tcpip.connect(dst_port=80)", "tcpip.connect(dst_port=[80, 81])", False),
        ("vm.service_register", "vm.service_register", True),
        ('fs.write(len(data)=..5)', "fs.write(len(data)=..3)", True),
        ('fs.write(len(data)=..5)', "fs.write(len(data)=..9)", False),
    ],
)  # fmt: skip
def test_what_denies_all_of_what(deny: str, rule: str, all_of_it: bool) -> None:
    assert forbids(Rule.parse(deny), Rule.parse(rule), "me") is all_of_it


# --- what is wrong with a policy ----------------------------------------------------------------

CASES = {
    "section": ("[tsk.a]", "1: unknown section 'tsk'; did you mean 'task'?"),
    "value": ("spawn = 1", "1: spawn is a section: write [spawn]"),
    "task value": ("[task]\na = 1", "2: write [task.a]"),
    "key": (
        "[task.a]\nuse = ['fs']",
        "2: unknown key 'use' in [task.a]; there are: allow, deny",
    ),
    "key of default": (
        "[default]\nallow = ['fs']",
        "2: unknown key 'allow' in [default]; there are: deny",
    ),
    "task": ("[task.aa]\nallow = []", "1: unknown task 'aa'; did you mean 'a'?"),
    "text": ("[task.a]\nallow = 'fs'", "2: allow is a list of strings"),
    "rule": (
        "[task.a]\nallow = [\n'fs',\n'fs.opn',\n]",
        "4: rule \"fs.opn\": fs has no message 'opn'; did you mean 'open'?",
    ),
    "service": (
        "[task.a]\nallow = ['fs',\n'consol']",
        "3: rule \"consol\": no service 'consol'; did you mean 'console'?",
    ),
    "service denied": (
        "[default]\ndeny = ['consol']",
        "2: rule \"consol\": no service 'consol'; did you mean 'console'?",
    ),
    "badge denied": (
        "[task.a]\ndeny = ['fs(mode=\"rw\")']",
        '2: rule "fs(mode="rw")": a rule that denies is about messages, whatever their mode; '
        "leave mode out",
    ),
    "lifetime denied": (
        "[task.a]\ndeny = ['fs once']",
        '2: rule "fs once": a rule that denies has no end; leave the lifetime out',
    ),
    "a name with quotes": (
        '[task."a\\"\'b"]\nalow = []',
        "2: unknown key 'alow' in [task.\"a\\\"'b\"]; did you mean 'allow'?",
    ),
    "a name with a dot": ('task."a.b" = 1', "1: write [task.'a.b']"),
    "directory": ("[task.a]\nallow = ['fs(dir=\"nowhere\")']", '2: rule "fs(dir="'),
    "toml": ("[task.a", " Expected ']' at the end of a table declaration"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_and_where(granted: Load, case: str) -> None:
    policy, error = CASES[case]
    with pytest.raises(ManifestError) as caught:
        granted("[task.a]\nuse = ['fs']", policy)
    assert str(caught.value).startswith(f"policy.toml:{error}")


@pytest.mark.parametrize("text", ["a", 'a"b', "a'b", "a\"'b", "a\\b", "a\\'b\"c"])
def test_strings_of_toml(text: str) -> None:
    assert tomllib.loads(f"x = {toml_string(text)}") == {"x": text}


# --- for one program ----------------------------------------------------------------------------

RUN = """
[default]
deny = ["vm"]
[task.hello]
allow = ["console"]
[task.other]
allow = ["something of its own"]
[run]
allow = ["args"]
deny = ["fs"]
"""


def test_for_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.toml").write_text(RUN.replace("something of its own", '\\"own\\"'))
    services = ["console", "args", "vm", "fs"]
    allow, deny = for_run("p.toml", "hello", services)
    assert [(str(r.rule), r.origin) for r in allow] == [
        ("console", "p.toml:5"), ("args", "p.toml:9"),
    ]  # fmt: skip
    assert [(str(r.rule), r.origin) for r in deny] == [("vm", "p.toml:3"), ("fs", "p.toml:10")]
    allow, deny = for_run("p.toml", "nobody", services)
    assert [str(r.rule) for r in allow] == ["args"]
    with pytest.raises(ManifestError, match=r"^p\.toml:7: rule .*: no service 'own'; there are: "):
        for_run("p.toml", "other", services)


def test_for_run_without_a_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.toml").write_text("[task.hello]\n")
    with pytest.raises(NotGranted) as caught:
        for_run("p.toml", "helo", ["console"])
    assert str(caught.value).splitlines() == [
        "p.toml grants 'helo' nothing; did you mean 'hello'?",
        "  to allow something add [task.helo], or [run] for whatever is run",
    ]
    assert for_run("p.toml", "helo", ["console"], needed=False) == ([], [])
    assert for_run("none.toml", "helo", ["console"], needed=False) == ([], [])
    with pytest.raises(ManifestError, match=r"^none\.toml: no such file"):
        for_run("none.toml", "helo", ["console"])


# --- the documentation --------------------------------------------------------------------------


def test_the_documentations_examples(granted: Load, tmp_path: Path) -> None:
    """They are read without an error, and fit each other."""
    text = (Path(__file__).parents[3] / "docs/reference/manifest.md").read_text()
    rules, foreign, policy, *example = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "data").mkdir()
    policy_ = "[task.kv]\nallow = ['*', 'fs(dir=\"data\", at=\"/data\")']"
    manifest = granted(f"[task.kv]\n{rules}", policy_)
    assert len(rights(manifest, "kv")) == 8
    foreign = foreign.replace("[task.program]", "[task.kv]")
    manifest = granted(foreign, foreign.replace("use =", "allow ="))
    assert len(rights(manifest, "kv")) == 6
    use = "[task.webserver]\nuse = ['console.write']\n[spawn]\nuse = ['console']"
    assert rights(granted(use, policy), "webserver")[0][1] == "policy.toml:5"
    assert [name for name, _ in rights(granted(*example), "ping")] == ["pong", "console.write"]
