"""All arguments, or all variables, at once: what asking for each would get, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import wasmos
from wasmos import abi
from wasmos.servers.args import Args
from wasmos.servers.env import Env
from wasmos.servers.strings import MAX_STRING_BYTES, MAX_STRINGS_BYTES

TOO_LARGE, INVALID_ARG = abi.ErrorCode.TOO_LARGE, abi.ErrorCode.INVALID_ARG
VARIABLES = {"B": "2", "A": "1", "C": ""}


def read(
    client: wasmos.Client, request: type[abi.ArgsRead | abi.EnvRead], room: int = 1 << 21
) -> tuple[int, int, bytes]:
    """How many there are, how many bytes they have, and what was written of them."""
    into = bytearray(room)
    answer = client.call(request.NAME.partition("_")[0], request(into))
    assert not any(into[answer.len :])
    return answer.count, answer.size, bytes(into[: answer.len])


def refusal(client: wasmos.Client, request: type[abi.ArgsRead | abi.EnvRead]) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        read(client, request)
    return refused.value.code


@pytest.fixture
def kernel() -> Iterator[wasmos.Kernel]:
    with wasmos.Kernel(virtual_clock=True) as kernel:
        yield kernel


# --- what is written ----------------------------------------------------------------------------


def test_arguments_in_order(kernel: wasmos.Kernel) -> None:
    arguments: dict[int, list[str]] = {}
    kernel.serve(Args(arguments))
    one, two = kernel.client(), kernel.client()
    arguments[one.id] = ["program", "", "ü", "\udcff"]
    assert read(one, abi.ArgsRead) == (4, 14, b"program\0\0\xc3\xbc\0\xff\0")
    assert read(two, abi.ArgsRead) == (0, 0, b"")


def test_variables_in_order(kernel: wasmos.Kernel) -> None:
    variables: dict[int, dict[str, str]] = {}
    kernel.serve(Env(variables))
    one, two = kernel.client(), kernel.client()
    variables[one.id] = VARIABLES
    assert read(one, abi.EnvRead) == (3, 11, b"A=1\0B=2\0C=\0")
    assert read(two, abi.EnvRead) == (0, 0, b"")


@pytest.mark.parametrize(
    ("room", "written"),
    [(0, b""), (3, b""), (4, b"A=1\0"), (7, b"A=1\0"), (8, b"A=1\0B=2\0"), (10, b"A=1\0B=2\0"),
     (11, b"A=1\0B=2\0C=\0")],
)  # fmt: skip
def test_none_is_cut(kernel: wasmos.Kernel, room: int, written: bytes) -> None:
    kernel.serve(Env(lambda _: VARIABLES))
    assert read(kernel.client(), abi.EnvRead, room) == (3, 11, written)
    kernel.serve(Args(lambda _: ["A=1", "B=2", "C="]))
    assert read(kernel.client(), abi.ArgsRead, room) == (3, 11, written)


LONGEST = MAX_STRING_BYTES - 1


def test_the_longest_argument(kernel: wasmos.Kernel) -> None:
    arguments = ["program", "x" * LONGEST]
    kernel.serve(Args(lambda _: arguments))
    client = kernel.client()
    assert read(client, abi.ArgsRead)[1] == 8 + MAX_STRING_BYTES
    arguments[1] += "x"
    assert refusal(client, abi.ArgsRead) == TOO_LARGE


def test_a_variable_that_is_longer_is_left_out(kernel: wasmos.Kernel) -> None:
    variables = {"A": "x" * (LONGEST - 2), "B": "2"}
    kernel.serve(Env(lambda _: variables))
    client = kernel.client()
    assert read(client, abi.EnvRead)[:2] == (2, MAX_STRING_BYTES + 4)
    variables["A"] += "x"
    assert read(client, abi.EnvRead) == (1, 4, b"B=2\0")


def test_the_most_together(kernel: wasmos.Kernel) -> None:
    arguments = ["x" * LONGEST] * (MAX_STRINGS_BYTES // MAX_STRING_BYTES)
    variables = {f"{i}": text[:-2] for i, text in enumerate(arguments)}
    kernel.serve(Args(lambda _: arguments))
    kernel.serve(Env(lambda _: variables))
    client = kernel.client()
    assert read(client, abi.ArgsRead)[:2] == (8, MAX_STRINGS_BYTES)
    assert read(client, abi.EnvRead)[:2] == (8, MAX_STRINGS_BYTES)
    arguments.append("")
    variables["9"] = ""
    assert refusal(client, abi.ArgsRead) == TOO_LARGE
    assert refusal(client, abi.EnvRead) == TOO_LARGE
    assert client.call("env", abi.EnvList(8)).name == "9"


def test_a_nul_ends_nothing_but_a_string(kernel: wasmos.Kernel) -> None:
    kernel.serve(Args(lambda _: ["program", "a\0b"]))
    kernel.serve(Env(lambda _: {"A": "1\0B=2", "C\0D": "", "E": ""}))
    assert refusal(kernel.client(), abi.ArgsRead) == INVALID_ARG
    assert read(kernel.client(), abi.EnvRead) == (1, 3, b"E=\0")


# --- who sees what ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "deny", "seen"),
    [
        (["env"], [], b"A=1\0B=2\0C=\0"),
        (["*"], [], b"A=1\0B=2\0C=\0"),
        (["env"], ['env.get(name="B")'], b"A=1\0C=\0"),
        (["env"], ["env.get"], b""),
        (["env"], ["env.list"], b""),
        (["env.list"], [], b""),
        (["env.list", 'env.get(name=["A", "X"])'], [], b"A=1\0"),
        (["env.list", "env.get"], ['env.get(name="A*")'], b"B=2\0C=\0"),
        (["env.list(index=..1)", "env.get"], [], b"A=1\0B=2\0"),
        (["env.read", "env.get"], [], b""),
    ],
)
def test_variables_that_may_be_listed_and_asked_for(
    kernel: wasmos.Kernel, allow: list[str], deny: list[str], seen: bytes
) -> None:
    kernel.serve(Env(lambda _: VARIABLES))
    assert read(kernel.client(allow=allow, deny=deny), abi.EnvRead)[2] == seen


def test_a_denial_names_the_rule_that_would_show_something(kernel: wasmos.Kernel) -> None:
    """That for the message itself would admit it, and there would be nothing to see."""
    kernel.serve(Args(lambda _: ["p"]))
    kernel.serve(Env(lambda _: VARIABLES))
    client = kernel.client(allow=["args.read(len(into)=7)", 'env.get(name="A")'])
    for request in (abi.ArgsRead, abi.EnvRead):
        with pytest.raises(wasmos.CapabilityDenied):
            read(client, request)
    kernel.take_records()
    assert [(each.message, each.rule) for each in client.denials] == [
        ("args.read", "args.get"), ("env.read", "env.list"),
    ]  # fmt: skip
    for denial in client.denials:
        kernel.grant(client, denial.rule)
    assert read(client, abi.ArgsRead)[2] == b"p\0"
    assert read(client, abi.EnvRead)[2] == b"A=1\0"


@pytest.mark.parametrize("allow", [["env.get"], ["args", "clock"]])
def test_who_may_not_list_may_not_read_all(kernel: wasmos.Kernel, allow: list[str]) -> None:
    kernel.serve(Env(lambda _: VARIABLES))
    with pytest.raises(wasmos.CapabilityDenied):
        read(kernel.client(allow=allow), abi.EnvRead)


@pytest.mark.parametrize(
    ("allow", "deny", "seen"),
    [
        ("args", [], b"p\0a\0b\0"),
        ("args.get", [], b"p\0a\0b\0"),
        ("args", ["args.get"], b""),
        ("args", ["args.get(index=1)"], b"p\0"),
        ("args.get(index=..1)", [], b"p\0a\0"),
        ("args.read", [], b""),
    ],
)
def test_arguments_that_may_be_asked_for(
    kernel: wasmos.Kernel, allow: str, deny: list[str], seen: bytes
) -> None:
    kernel.serve(Args(lambda _: ["p", "a", "b"]))
    assert read(kernel.client(allow=[allow], deny=deny), abi.ArgsRead)[2] == seen


def test_what_its_giver_is_denied_it_is_not_shown(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env(lambda _: VARIABLES))
    giver = kernel.client(allow=["env"], deny=['env.get(name="B")'])
    heir = kernel.client(allow=[])
    giver.grants[-1].delegate(heir)
    assert read(heir, abi.EnvRead)[2] == b"A=1\0C=\0"
    assert [heir.call("env", abi.EnvList(i)).name for i in range(2)] == ["A", "C"]


# --- what changes -------------------------------------------------------------------------------


def test_what_is_granted_and_taken_back_shows_in_the_next_call(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env(lambda _: VARIABLES))
    client = kernel.client(allow=["env.list"])
    assert read(client, abi.EnvRead)[2] == b""
    grant = kernel.grant(client, 'env.get(name="A")')
    assert read(client, abi.EnvRead)[2] == b"A=1\0"
    all_of_them = kernel.grant(client, "env.get")
    rule = kernel.deny(client, 'env.get(name="C")')
    assert read(client, abi.EnvRead)[2] == b"A=1\0B=2\0"
    grant.revoke()
    rule.revoke()
    assert read(client, abi.EnvRead)[2] == b"A=1\0B=2\0C=\0"
    all_of_them.revoke()
    assert read(client, abi.EnvRead)[2] == b""


def test_what_is_given_anew_shows_in_the_next_call(kernel: wasmos.Kernel) -> None:
    variables, arguments = {"A": "1"}, ["p"]
    kernel.serve(Env(lambda _: variables))
    kernel.serve(Args(lambda _: arguments))
    client = kernel.client()
    for value in ("2", "3"):
        variables["A"] = value
        arguments.append(value)
        assert read(client, abi.EnvRead)[2] == f"A={value}\0".encode()
        assert read(client, abi.ArgsRead)[0] == len(arguments)


def test_what_has_expired_is_not_shown(kernel: wasmos.Kernel) -> None:
    env = Env(lambda _: VARIABLES)
    kernel.serve(env)
    client = kernel.client(allow=["env.list", 'env.get(name="A")'])
    kernel.grant(client, 'env.get(name="B")', seconds=5)
    assert read(client, abi.EnvRead)[2] == b"A=1\0B=2\0"
    # Its end comes by the clock, and the kernel says so a moment later.
    assert env._shown._kept == {}
    later: list[None] = []
    kernel.call_later(6, lambda: later.append(None))
    kernel.run(lambda: bool(later))
    assert read(client, abi.EnvRead)[2] == b"A=1\0"


def test_a_right_with_uses_is_for_one_at_a_time(kernel: wasmos.Kernel) -> None:
    """Reading all would be a use of each, or of none."""
    kernel.serve(Env(lambda _: VARIABLES))
    client = kernel.client(allow=["env.list", 'env.get(name="A")'])
    kernel.grant(client, 'env.get(name="B")', uses=1)
    for _ in range(2):
        assert read(client, abi.EnvRead)[2] == b"A=1\0"
    assert client.call("env", abi.EnvGet("B")).value == "2"


def test_a_right_with_uses_that_is_for_all_of_them(kernel: wasmos.Kernel) -> None:
    """Its use is for whatever it is a right to."""
    kernel.serve(Env(lambda _: VARIABLES))
    client = kernel.client(allow=[])
    for denied in ("A", "B"):
        grant = kernel.grant(client, "env", uses=1)
        rule = kernel.deny(client, f'env.get(name="{denied}")')
        left = [entry for entry in (b"A=1\0", b"B=2\0", b"C=\0") if entry[:1] != denied.encode()]
        assert read(client, abi.EnvRead)[2] == b"".join(left)
        assert grant.state == "spent"
        rule.revoke()
    with pytest.raises(wasmos.CapabilityDenied):
        read(client, abi.EnvRead)


# --- what it costs ------------------------------------------------------------------------------


def test_rules_are_asked_once_for_each_variable(
    kernel: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.serve(Env(lambda _: VARIABLES))
    client, other = kernel.client(allow=["env"]), kernel.client(allow=["env"])
    asked: list[int] = []
    would_admit: Callable[[int, int, bytes], int] = kernel.would_admit

    def counted(task: int, to: int, message: bytes) -> int:
        asked.append(task)
        return would_admit(task, to, message)

    monkeypatch.setattr(kernel, "would_admit", counted)
    for _ in range(3):
        read(client, abi.EnvRead)
        client.call("env", abi.EnvList(1))
    assert asked == [client.id] * 2 * len(VARIABLES)
    kernel.grant(other, "clock")
    read(client, abi.EnvRead)
    assert len(asked) == 2 * len(VARIABLES)
    kernel.grant(client, "clock")
    read(client, abi.EnvRead)
    assert len(asked) == 4 * len(VARIABLES)


def test_nothing_is_kept_of_a_task_that_has_ended(kernel: wasmos.Kernel) -> None:
    env, args = Env(lambda _: VARIABLES), Args(lambda _: ["p"])
    kernel.serve(env)
    kernel.serve(args)
    client = kernel.client()
    read(client, abi.EnvRead)
    read(client, abi.ArgsRead)
    kernel.kill(client)
    assert (env._shown._kept, args._shown._kept) == ({}, {})
