"""The error codes are a sequence without gaps, and each has its words."""

from __future__ import annotations

from wasmos.abi import (
    FROM_KERNEL,
    HEADER_SIZE,
    IPC_ANY,
    MESSAGE_SIZE,
    VM,
    ErrorCode,
    error_name,
)


def test_numbers_of_the_interface() -> None:
    assert (MESSAGE_SIZE, HEADER_SIZE) == (1512, 8)
    assert (IPC_ANY, FROM_KERNEL, VM) == (0, -1, 1)


def test_codes_run_from_0_to_minus_41() -> None:
    assert [code.value for code in ErrorCode] == list(range(0, -42, -1))


def test_codes_that_guests_meet_most() -> None:
    assert ErrorCode.NOT_FOUND == -7
    assert ErrorCode.NOT_ALLOWED == -8
    assert ErrorCode.INVALID_ARG == -11
    assert ErrorCode.ABORTED == -21
    assert ErrorCode.EOF == -27
    assert ErrorCode.TOO_MANY_LINKS == -28
    assert ErrorCode.NOT_SEEKABLE == -41


def test_every_code_has_words() -> None:
    words = [error_name(code) for code in ErrorCode]
    assert words == [
        "ok",
        "no memory",
        "no resources",
        "already exists",
        "already used",
        "already done",
        "still used",
        "not found",
        "not allowed",
        "not supported",
        "unexpected",
        "invalid argument",
        "invalid task",
        "invalid system call",
        "invalid physical address",
        "invalid user address",
        "too many tasks",
        "too large",
        "too small",
        "would block",
        "try again",
        "aborted",
        "empty",
        "not empty",
        "dead lock",
        "not a file",
        "not a directory",
        "end of file",
        "too many links",
        "name too long",
        "illegal sequence",
        "read only",
        "cross device",
        "no space",
        "io error",
        "busy",
        "bad file",
        "not permitted",
        "broken pipe",
        "not connected",
        "connection reset",
        "not seekable",
    ]


def test_a_number_that_is_no_code() -> None:
    assert error_name(-42) == "unknown error -42"
    assert error_name(9) == "unknown error 9"
