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
        (["service s {}\nservice s {}"], "a.idl:2", "two services are called 's'"),
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


def test_an_rpc_may_answer_with_nothing() -> None:
    (message, reply) = interface("service s { rpc aa(x: int) -> (); }").messages
    assert (message.layout.size, reply.layout.size) == (12, 8)
    assert (message.reply_to, reply.reply_to) == (None, "aa")
