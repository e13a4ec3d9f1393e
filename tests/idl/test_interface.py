"""Several files are one system: numbers, names and references fit, or an error says not."""

from __future__ import annotations

import pytest

from wasmos.idl import IdlError, Interface, lay_out, parse


def interface(*texts: str) -> Interface:
    """Files a.idl, b.idl, … as one interface."""
    return lay_out(parse(text, f"{name}.idl") for name, text in zip("abc", texts, strict=False))


def numbers(made: Interface) -> dict[str, int]:
    return {message.name: message.number for message in made.messages}


def test_an_rpc_takes_two_numbers() -> None:
    made = interface("kernel { oneway a1b(); } service s { rpc bb() -> (); oneway cc(); }")
    assert numbers(made) == {"a1b": 1, "bb": 2, "bb_reply": 3, "cc": 4}


def test_a_file_says_where_its_numbers_begin() -> None:
    made = interface("service s { oneway aa(); }", "first 1000; service t { oneway bb(); }")
    assert numbers(made) == {"aa": 1, "bb": 1000}


def test_what_a_service_takes_and_sends() -> None:
    made = interface(
        "kernel { oneway tick(); }\n"
        "service one { rpc ask() -> (); oneway tell(); event told(); }\n"
        "service two { answers ask; answers later; }\n"
        "service three { oneway later(); }"
    )
    assert [(s.name, s.answers, s.sends) for s in made.services] == [
        ("one", ("ask", "tell"), ("told",)),
        ("two", ("ask", "later"), ()),
        ("three", ("later",), ()),
    ]
    assert [message.name for message in made.messages if message.kernel_only] == ["tick"]


def test_one_file_of_several() -> None:
    made = interface("service s { oneway aa(); }", "first 9; service t { answers aa; }")
    (service,) = made.only(["b.idl"]).blocks
    assert (service.name, service.answers) == ("t", ("aa",))


def test_a_later_block_adds_to_a_service() -> None:
    made = interface(
        "/// First.\nservice one { rpc aa() -> (); badge dir; }\n"
        "service two { rpc bb() -> (); answers cc; }\n"
        "/// More.\nservice one { oneway cc(); event dd(); answers bb; badge mode; }\n"
        "service two {}"
    )
    assert list(numbers(made).items()) == [
        ("aa", 1),
        ("aa_reply", 2),
        ("bb", 3),
        ("bb_reply", 4),
        ("cc", 5),
        ("dd", 6),
    ]
    assert [(s.name, s.answers, s.sends, s.badges) for s in made.services] == [
        ("one", ("aa", "cc", "bb"), ("dd",), ("dir", "mode")),
        ("two", ("bb", "cc"), (), ()),
    ]
    assert [(s.doc, s.line) for s in made.services] == [(("First.", "", "More."), 2), ((), 3)]


@pytest.mark.parametrize(
    ("first", "second", "doc"),
    [("/// One.\n", "", ("One.",)), ("", "/// Two.\n", ("Two.",)), ("", "", ())],
)
def test_one_of_the_doc_comments_is_enough(first: str, second: str, doc: tuple[str, ...]) -> None:
    (service,) = interface(f"{first}service s {{}}\n{second}service s {{}}").services
    assert service.doc == doc


def test_what_covers_a_message() -> None:
    made = interface(
        "service s { rpc use(x: int) -> () with open, make; oneway drop() with open; }\n"
        "service s { rpc open() -> (); rpc make() -> () with open; }"
    )
    assert {message.name: message.covered_by for message in made.messages} == {
        "use": ("open", "make"),
        "use_reply": (),
        "drop": ("open",),
        "open": (),
        "open_reply": (),
        "make": ("open",),
        "make_reply": (),
    }


def test_a_badge_may_be_called_like_a_field_of_an_answer_or_of_another_service() -> None:
    made = interface(
        "service s { badge dir, mode; rpc aa() -> (dir: int); }\n"
        "service t { badge dir; oneway bb(mode: int); }"
    )
    assert [service.badges for service in made.services] == [("dir", "mode"), ("dir",)]


@pytest.mark.parametrize(
    ("texts", "where", "part"),
    [
        (["service s {\noneway aa();\noneway aa(); }"], "a.idl:3", "two messages are called 'aa'"),
        (
            ["service s {\nrpc aa() -> ();\noneway aa_reply(); }"],
            "a.idl:3",
            "two messages are called 'aa_reply'; rename one of them (the other is at a.idl:2)",
        ),
        (
            ["service s { oneway aa(); }", "first 9;\nservice t { oneway aa(); }"],
            "b.idl:2",
            "two messages are called 'aa'",
        ),
        (
            ["service s {\noneway ab_1();\noneway ab1(); }"],
            "a.idl:3",
            "two messages would be the class 'Ab1'",
        ),
        (
            ["service s { rpc aa() -> (); }", "first 2;\n\nservice t { oneway bb(); }"],
            "b.idl:3",
            "number 2 is 'bb' and 'aa_reply'; begin the file with a free one",
        ),
        (
            ["service s {}", "first 9;\nservice s {}"],
            "b.idl:2",
            "two services are called 's'; rename one of them (the other is at a.idl:1)",
        ),
        (
            ["service s { oneway aa(); }\nservice s {\noneway aa(); }"],
            "a.idl:3",
            "two messages are called 'aa'",
        ),
        (
            ["service s {\nanswers aa; }\nservice s { oneway aa(); }"],
            "a.idl:2",
            "'aa' is answered twice",
        ),
        (
            ["service t { oneway aa(); } service s { answers aa; }\nservice s { answers aa; }"],
            "a.idl:2",
            "'aa' is answered twice",
        ),
        (
            ["service s { rpc open() -> (); rpc aa() -> ()\nwith\nopne; }"],
            "a.idl:3",
            "the service 's' has no rpc 'opne'; did you mean 'open'? name rpcs",
        ),
        (
            ["service s { rpc aa() -> ()\nwith zz; }"],
            "a.idl:2",
            "the service 's' has no rpc 'zz'; name rpcs that stand in this service",
        ),
        (
            ["service s { rpc aa() -> (); }\nservice t { oneway bb() with aa; }"],
            "a.idl:2",
            "the service 't' has no rpc 'aa'",
        ),
        (
            ["service s { oneway aa(); event bb();\nrpc cc() -> () with aa; }"],
            "a.idl:2",
            "has no rpc 'aa'",
        ),
        (["service s { rpc aa() -> () with aa_reply; }"], "a.idl:1", "has no rpc 'aa_reply'"),
        (["service s {\nrpc aa() -> () with aa; }"], "a.idl:2", "covered by 'aa' anyway"),
        (
            ["service s { rpc aa() -> (); rpc bb() -> () with aa,\naa; }"],
            "a.idl:2",
            "'bb' is covered by 'aa' anyway; remove the name",
        ),
        (
            ["kernel { rpc aa() -> ();\noneway bb() with aa; }"],
            "a.idl:2",
            "no capability is needed for what the kernel sends",
        ),
        (["service s {\nbadge Dir; }"], "a.idl:2", "'Dir' is not a name"),
        (["service s {\nbadge with; }"], "a.idl:2", "'with' is a keyword of Python"),
        (["service s {\nbadge dir,\ndir; }"], "a.idl:3", "two badge parameters are called 'dir'"),
        (
            ["service s { badge dir; }\nservice s { badge dir; }"],
            "a.idl:2",
            "two badge parameters are called 'dir'",
        ),
        (
            ["service s {\nbadge path; }\nservice s { rpc aa(path: int) -> (); }"],
            "a.idl:2",
            "'path' is a field of 'aa' already; choose another name",
        ),
        (["service s {\noneway b_a_d_g_e_s(); }"], "a.idl:2", "can't be called 'b_a_d_g_e_s'"),
        (
            ["service s {\nrpc aa() -> (\nx: uint16 as prot); }"],
            "a.idl:3",
            "unknown meaning 'prot'",
        ),
        (["service int {}"], "a.idl:1", "'int' is a keyword of C"),
        ([f"service {'s' * 64} {{}}"], "a.idl:1", "is too long; use at most 63"),
        (["service s {\n\nanswers ping; }"], "a.idl:3", "there is no message 'ping'"),
        (
            ["service s { rpc aa() -> (); }\nservice t {\nanswers aa_reply; }"],
            "a.idl:3",
            "'aa_reply' is not a request",
        ),
        (["service s { event aa(); }\nservice t { answers aa; }"], "a.idl:2", "not a request"),
        (["kernel { rpc aa() -> (); }\nservice t { answers aa; }"], "a.idl:2", "not a request"),
        (
            ["service s { oneway aa(); }\nservice t {\nanswers aa;\nanswers aa; }"],
            "a.idl:4",
            "'aa' is answered twice",
        ),
        (["service s {\noneway aa();\nanswers aa; }"], "a.idl:3", "'aa' is answered twice"),
        (["service s {\noneway while(); }"], "a.idl:2", "'while' is a keyword of Python"),
        (["service s {\noneway Get(); }"], "a.idl:2", "'Get' is not a name"),
        (["service s {\noneway src(); }"], "a.idl:2", "can't be called 'src'"),
        (["service s {\noneway message(); }"], "a.idl:2", "can't be called 'message'"),
        (["service s {\noneway none(); }"], "a.idl:2", "can't be called 'none'"),
        (["service s {\noneway i_n_t32(); }"], "a.idl:2", "can't be called 'i_n_t32'"),
        (["service s {\noneway i_n_t64(); }"], "a.idl:2", "can't be called 'i_n_t64'"),
        (["service s {\noneway l_e_n_t(); }"], "a.idl:2", "can't be called 'l_e_n_t'"),
        (["service s {\nrpc aa() -> (\nx: what); }"], "a.idl:3", "unknown type 'what'"),
        (["\nfirst 0;"], "a.idl:2", "0 can't be the number of a message"),
        (["first -5;"], "a.idl:1", "-5 can't be the number"),
        (["first 2147483648;"], "a.idl:1", "2147483648 can't be the number"),
        (
            ["first 2147483647;\nservice s {\nrpc aa() -> (); }"],
            "a.idl:3",
            "'aa_reply' would be number 2147483648",
        ),
    ],
)
def test_contradictions(texts: list[str], where: str, part: str) -> None:
    with pytest.raises(IdlError) as caught:
        interface(*texts)
    assert str(caught.value).startswith(f"{where}: ")
    assert part in str(caught.value)


@pytest.mark.parametrize("type_", ["lent", "lent_out"])
@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "service s { rpc aa() -> (\nx: int,\ny: LENT); }",
            3,
            "'y': the answer to 'aa' can't lend memory: nobody waits on what it lends; lend from "
            "the request, a lent_out to be filled",
        ),
        (
            "service s { oneway aa(\ny: LENT); }",
            2,
            "'y': nobody answers 'aa', and memory is lent until the answer; make it an rpc, or the "
            "field bytes[N]",
        ),
        ("service s { event aa(\ny: LENT); }", 2, "'y': nobody answers 'aa', and memory is lent"),
        (
            "kernel { rpc aa(x: int,\ny: LENT) -> (); }",
            2,
            "'y': the kernel sends 'aa' and has no memory to lend; make it bytes[N]",
        ),
        ("kernel { oneway aa(\ny: LENT); }", 2, "'y': the kernel sends 'aa'"),
        ("kernel { rpc aa() -> (\ny: LENT); }", 2, "'y': the answer to 'aa' can't lend"),
        (
            "service s { rpc aa(x: lent,\nn: int,\ny: LENT) -> (); }",
            3,
            "'y': 'aa' lends twice (first on line 1); lend one range, or split the message in two",
        ),
        ("service s { rpc aa(\ny: LENT, z: LENT) -> (\nw: LENT); }", 3, "'w': the answer to"),
    ],
)
def test_who_can_lend(text: str, line: int, problem: str, type_: str) -> None:
    with pytest.raises(IdlError) as caught:
        interface(text.replace("LENT", type_))
    assert str(caught.value).startswith(f"a.idl:{line}: {problem}")


def test_a_request_lends_one_range() -> None:
    made = interface(
        "service s { rpc aa(x: lent) -> (); rpc bb(n: int64, x: lent_out, m: int) -> (len: uint32);"
        " }\nservice t { answers aa; }"
    )
    sizes = {message.name: message.layout.size for message in made.messages}
    assert sizes == {"aa": 16, "aa_reply": 8, "bb": 28, "bb_reply": 12}


def test_an_rpc_may_answer_with_nothing() -> None:
    (message, reply) = interface("service s { rpc aa(x: int) -> (); }").messages
    assert (message.layout.size, reply.layout.size) == (12, 8)
    assert (message.reply_to, reply.reply_to) == (None, "aa")
