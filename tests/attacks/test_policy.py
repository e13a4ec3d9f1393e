"""Policies and prompts: injection through names, and asking for more than was granted."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.agent import Agent, raw
from tests.attacks.attack import Scene, attack, settle
from tests.attacks.echoes import serve
from wasmos import abi
from wasmos.cli import shown
from wasmos.errors import ManifestError, NotGranted, RuleError, UsageError
from wasmos.system.manifest import manifest
from wasmos.system.policy import edit as policy_edit
from wasmos.system.prompt import Prompter

HOSTS = [
    b'x"]\n[task.evil]\nallow = ["*', b"x'\n'*'", b"x\\", b'x"', b"x'''\n*", b"x\x1b[2J",
    b"x\r\nallow [a]lways",
    b"x # *", "x\u202e*".encode(), "x\u2028*".encode(), b"x]", b"*", b"?", b"[a-z]", b"x\xff",
]  # fmt: skip


class You:
    """Somebody who says `answer` to everything, and looks at what is shown."""

    def __init__(self, scene: Scene, answer: str) -> None:
        self.scene = scene
        self.answer = answer
        self.asked = 0
        self.lines: list[str] = []

    def ask_line(self, prompt: str) -> str:
        self.asked += 1
        return self.answer

    def say(self, line: str) -> None:
        """As the command line shows it."""
        self.lines.append(shown(line))
        self.scene.say(shown(line))

    def ask_for(self, agent: Agent, policy: str | None) -> None:
        kernel = self.scene.kernel
        kernel.ask(agent.task, Prompter(kernel, self.ask_line, self.say, policy=policy))


@pytest.mark.parametrize("host", HOSTS)
@attack(
    "a rule with more in it, by the prompt",
    "A guest looks up a name that ends the string, the array or the section, and is "
    "answered: always",
    stopped_by=r"policy\.toml: added tcpip\.dns_resolve\(hostname=|rule +tcpip\.dns_resolve|"
    r"denial evil.* tcpip\.dns_resolve\(.*\) field",
    each="host",
)
def test_a_rule_with_more_in_it(scene: Scene, host: bytes) -> None:
    """The file has one rule more, which admits this message and no other."""
    service = serve(scene)
    evil = scene.agent("evil", 'tcpip.dns_resolve(hostname="*.example.com")')
    path = scene.folder / "policy.toml"
    path.write_text('[task.evil]\nallow = ["console"]\n')
    you = You(scene, "a")
    you.ask_for(evil, str(path))
    evil.call("tcpip", raw(abi.TcpipDnsResolve.TYPE) + host.ljust(256, b"\0"))
    found = tomllib.loads(path.read_text())
    assert set(found) == {"task"} and set(found["task"]) == {"evil"}
    assert set(found["task"]["evil"]) == {"allow"}
    rules = [scene.kernel.parse_rule(text) for text in found["task"]["evil"]["allow"]]
    assert len(rules) <= 2
    for rule in rules[1:]:
        assert (rule.service, rule.message) == ("tcpip", "dns_resolve")
        assert not rule.admits(abi.TcpipDnsResolve("other.org"))
    scene.kernel.ask(evil.task, None)
    assert evil.call("tcpip", abi.TcpipDnsResolve("other.org")).error == -8
    assert all(isinstance(name, str) for name in service.seen)


@pytest.mark.parametrize("host", HOSTS)
@attack(
    "a forged question",
    "What a guest asks for has line ends, escapes and the words of an answer in it",
    stopped_by=r"  rule   tcpip\.dns_resolve|denial evil.* tcpip\.dns_resolve\(.*\) (field|"
    r"no_capability)",
    each="host",
)
def test_a_forged_question(scene: Scene, host: bytes) -> None:
    serve(scene)
    evil = scene.agent("evil", "tcpip.listen")
    you = You(scene, "n")
    you.ask_for(evil, None)
    evil.call("tcpip", raw(abi.TcpipDnsResolve.TYPE) + host.ljust(256, b"\0"))
    assert all(line.isprintable() for line in you.lines)
    assert sum(line.startswith("  allow  ") for line in you.lines) == you.asked
    assert evil.call("tcpip", abi.TcpipListen(80)).error == 0


@attack(
    "to wear out who answers",
    "The same question 200 times, and 300 different ones after an answer of `quiet`",
    stopped_by=r"denial evil.* tcpip\.listen\(listen_port=\d+\) (field|no_capability|message)",
)
def test_to_wear_out_who_answers(scene: Scene) -> None:
    serve(scene)
    evil = scene.agent("evil", "tcpip.write")
    you = You(scene, "n")
    you.ask_for(evil, None)
    for _ in range(200):
        assert evil.call("tcpip", abi.TcpipListen(80)).error == -8
    assert you.asked == 1
    you.answer = "q"
    for port in range(81, 381):
        assert evil.call("tcpip", abi.TcpipListen(port)).error == -8
    assert you.asked == 2


@attack(
    "a question about what is denied",
    "A deny rule is asked about, so that a hasty yes lifts it",
    stopped_by=r"denial evil.* tcpip\.listen\(listen_port=22\) denied",
)
def test_a_question_about_what_is_denied(scene: Scene) -> None:
    service = serve(scene)
    evil = scene.agent("evil", "tcpip.write")
    scene.kernel.deny(evil.task, "tcpip.listen(listen_port=22)", origin="policy.toml:9")
    you = You(scene, "a")
    you.ask_for(evil, str(scene.folder / "policy.toml"))
    assert evil.call("tcpip", abi.TcpipListen(22)).error == -8
    assert you.asked == 0 and service.seen == []


@attack(
    "a message changed while somebody answers",
    "The request is asked about, and another task calls, to have the yes count for its own",
    stopped_by=r"denial other.* tcpip\.listen\(listen_port=666\) no_capability",
)
def test_changed_while_somebody_answers(scene: Scene) -> None:
    service = serve(scene)
    evil, other = scene.agent("evil", "tcpip.write"), scene.agent("other")
    asked: list[object] = []

    def later(denial: object) -> None:
        asked.append(denial)

    scene.kernel.ask(evil.task, later)
    evil.begin_call("tcpip", abi.TcpipListen(80))
    assert len(asked) == 1 and not evil.is_back
    assert other.call("tcpip", abi.TcpipListen(666)).error == -8
    scene.kernel.grant(evil.task, "tcpip.listen(listen_port=80) once")
    scene.kernel.answer_asked(evil.id)
    settle(scene.kernel)
    assert evil.result().error == 0
    assert service.seen == [80]
    scene.kernel.ask(evil.task, None)
    assert evil.call("tcpip", abi.TcpipListen(80)).error == -8


NAMES = [
    'x"]\nallow=["*"]\n[task.y',
    "a.b",
    "x'y",
    "]",
    "x\ny",
    "",
    "\u202e",
    "x = 1 #",
    '"""',
    "task",
]


@pytest.mark.parametrize("name", NAMES)
@attack(
    "a task's name that is TOML",
    "A rule is added for a task whose name ends the header, has dots, quotes and line ends",
    stopped_by=r"policy: \[task\.",
    each="name",
)
def test_a_tasks_name_that_is_toml(scene: Scene, name: str) -> None:
    path = scene.folder / "policy.toml"
    path.write_text('[task.victim]\nallow = ["console"]\n')
    for rule in ("args", 'fs.open(path="a\\"]")', "x\n*"):
        policy_edit.add(str(path), name, rule)
    text = path.read_text()
    found = tomllib.loads(text)
    assert found == {"task": {"victim": {"allow": ["console"]},
                              name: {"allow": ["args", 'fs.open(path="a\\"]")',
                              "x\n*"]}}}  # fmt: skip
    for line in text.splitlines():
        scene.say(f"policy: {shown(line)}")


POLICY = "[task.evil]\nallow = ['console.write', 'tcpip.listen(listen_port=80)']\n"
ASKED = [
    "*", "console", "console.read", "tcpip", "tcpip.listen", "tcpip.listen(listen_port=[80, 81])",
    "fs",
    'vm.service_register(name="fs")', 'fs(dir="/", at="/")', "tcpip.listen(listen_port=80) for 60s",
]  # fmt: skip


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], object]:
    monkeypatch.chdir(tmp_path)

    def started(text: str, policy: str) -> object:
        Path("system.toml").write_text(text)
        Path("policy.toml").write_text(policy)
        return manifest.load("system.toml")

    return started


@pytest.mark.parametrize("rule", ASKED[:-1])
@attack(
    "a manifest that asks for more",
    "A task asks in its manifest for more than the operator's policy grants it",
    stopped_by=r"evil asks for what no policy grants",
    each="rule",
)
def test_a_manifest_that_asks_for_more(
    scene: Scene, rule: str, started: Callable[[str, str], object]
) -> None:
    with pytest.raises(NotGranted) as refused:
        started(f"[task.evil]\nmodule = 'x'\nuse = ['console.write', '{rule}']\n", POLICY)
    scene.say(refused.value)


MANIFESTS = {
    "allow in the manifest": "[task.evil]\nallow = ['*']\n",
    "a policy's section": "[run]\nallow = ['*']\n",
    "a default": "[default]\nallow = ['*']\n",
    "a look-alike key": "[task.evil]\n'аllow' = ['*']\n",
    "the key of another version": "[task.evil]\ngrant = ['*']\n",
    "twice": "[task.evil]\nuse = []\n[task.evil]\nuse = ['*']\n",
    "a name with a line end": "[task.\"evil\\n[run]\"]\nuse = []\n",
    "a rule with a line end": "[task.evil]\nuse = [\"console\\n*\"]\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", MANIFESTS)
@attack(
    "a manifest that grants itself something",
    "What only a policy may say, in the file that a task's author writes",
    stopped_by=r"error: .*system\.toml",
    each="kind",
)
def test_a_manifest_that_grants_itself_something(
    scene: Scene, kind: str, started: Callable[[str, str], object]
) -> None:
    with pytest.raises(ManifestError) as refused:
        started(MANIFESTS[kind], POLICY)
    text = str(refused.value)
    assert shown(text.partition("\n")[0]).isprintable()
    scene.say(refused.value)


RULES = [
    "tcpip.listen(listen_port=80)\n*", "console\0*", "console # *", "console;*", "сonsole.write(",
    "tcpip.lіsten", "tcpip.connect(dst_addr=\"10.0.0.0/33\")", "tcpip.connect(dst_addr=\"0x7f.1\")",
    "tcpip.connect(dst_addr=\"127.1\")", "tcpip.connect(dst_addr=\"010.0.0.1\")", "fs(dir=1)",
    "fs(dir=\"/a\", dir=\"/b\")", "tcpip.listen(listen_port=65616)",
    "tcpip.listen(listen_port=80..)x", "tcpip.listen(listen_port=８０)",
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@attack(
    "a rule that people read otherwise",
    "Rules with look-alike letters, odd numbers and addresses, repeated and hidden parts",
    stopped_by=r"error: rule \"",
    each="rule",
)
def test_a_rule_that_people_read_otherwise(scene: Scene, rule: str) -> None:
    evil = scene.agent("evil")
    with pytest.raises((RuleError, UsageError)) as refused:
        scene.kernel.grant(evil.task, rule)
    assert str(refused.value).isprintable()
    scene.say(refused.value)
    assert evil.grants == []
