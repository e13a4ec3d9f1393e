"""The committed files are what their source makes of them, and staleness is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wasmos import idl
from wasmos.idl import IdlError, generate
from wasmos.idl.__main__ import main
from wasmos.idl.outputs import Output, system_outputs

ROOT = Path(__file__).parents[2]

USER = """first 1000;
service store {
    rpc store_get(key: cstr[32]) -> (value: bytes[64]);
    answers ping;
}
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "store.idl"
    path.write_text(USER, encoding="utf-8")
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    shutil.copy(ROOT / "messages.idl", root)
    generate(root=root)
    return root


def user_error(tmp_path: Path, text: str) -> str:
    path = tmp_path / "bad.idl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IdlError) as caught:
        generate([path])
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_committed_files_are_up_to_date() -> None:
    assert generate(root=ROOT, check=True) == []


def test_the_package_carries_the_systems_definitions() -> None:
    carried = Path(idl.__file__).with_name("system.idl")
    assert carried.read_bytes() == (ROOT / "messages.idl").read_bytes()


def test_outputs_of_a_checkout(checkout: Path) -> None:
    assert [
        output.path.relative_to(checkout).as_posix() for output in system_outputs(checkout)
    ] == [
        "guests/include/wasmos.h",
        "src/wasmos/abi/messages.py",
        "docs/reference/messages.md",
        "src/wasmos/idl/system.idl",
    ]
    assert generate(root=checkout, check=True) == []


@pytest.mark.parametrize("number", range(4))
def test_a_changed_or_missing_output_is_stale(checkout: Path, number: int) -> None:
    path = system_outputs(checkout)[number].path
    path.write_bytes(path.read_bytes() + b"\n")
    assert generate(root=checkout, check=True) == [path]
    assert path.read_bytes().endswith(b"\n\n"), "checking wrote the file"
    path.unlink()
    assert generate(root=checkout, check=True) == [path]
    assert generate(root=checkout) == [path]
    assert generate(root=checkout, check=True) == []


def test_line_ends_count(tmp_path: Path) -> None:
    output = Output(tmp_path / "x", "a\nb\n")
    output.path.write_bytes(b"a\r\nb\r\n")
    assert output.is_stale()
    output.write()
    assert output.path.read_bytes() == b"a\nb\n"
    assert not output.is_stale()


def test_a_changed_source_makes_its_outputs_stale(checkout: Path) -> None:
    source = checkout / "messages.idl"
    source.write_text(
        source.read_text(encoding="utf-8") + "service late { rpc too_late() -> (); }\n",
        encoding="utf-8",
    )
    assert len(generate(root=checkout, check=True)) == 4


def test_the_systems_numbers_end_below_the_users(checkout: Path) -> None:
    source = checkout / "messages.idl"
    source.write_text("first 999; service s { rpc aa() -> (); }", encoding="utf-8")
    with pytest.raises(IdlError, match=r"messages\.idl:1: 'aa_reply' has number 1000"):
        generate(root=checkout)


def test_user_outputs(tmp_path: Path, user_file: Path) -> None:
    paths = {"c": tmp_path / "s.h", "python": tmp_path / "s.py", "docs": tmp_path / "new" / "s.md"}
    assert generate([user_file], **paths) == list(paths.values())
    header, module, page = (path.read_text(encoding="utf-8") for path in paths.values())
    assert "#define STORE_GET_MSG 1000\n" in header
    assert "#define PING_MSG 9\n" in header
    assert "class StoreGet(Message):" in module
    assert "class Ping(" not in module
    assert "| 1001 | `store_get_reply` |" in page
    assert "fs_open" not in page
    # The folder it was made in is nobody's business.
    assert str(tmp_path) not in header + module + page
    assert generate([user_file], **paths, check=True) == []


def test_two_user_files_are_one_system(tmp_path: Path, user_file: Path) -> None:
    other = tmp_path / "other.idl"
    other.write_text("first 1001; service t { oneway bb(); }", encoding="utf-8")
    with pytest.raises(IdlError, match=r"other\.idl:1: number 1001 is 'bb' and 'store_get_reply'"):
        generate([user_file, other])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("service s { oneway aa(); }", "bad.idl:1: the numbers below 1000 belong to the system"),
        ("\nfirst 73;", "bad.idl:2: the numbers below 1000"),
        ("first 1000;\nservice s { oneway ping(); }", "bad.idl:2: two messages are called 'ping'"),
        ("first 1000;\n\nservice fs {}", "bad.idl:3: two services are called 'fs'"),
        ("first 1000;\nkernel { oneway aa(); }", "bad.idl:2: only the system's own file"),
        ("first 1000;\nservice s { answers task_destroyed; }", "bad.idl:2: 'task_destroyed' is"),
    ],
)
def test_users_build_on_the_system(tmp_path: Path, text: str, message: str) -> None:
    assert user_error(tmp_path, text).startswith(message)


def test_command_writes_checks_and_says_what_to_run(
    tmp_path: Path, user_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(user_file), "--python", str(tmp_path / "s.py")]
    assert main([*arguments, "--check"]) == 1
    assert capsys.readouterr().err == (
        f"stale {tmp_path}/s.py\nrun   python -m wasmos.idl {' '.join(arguments)}\n"
    )
    assert main(arguments) == 0
    assert capsys.readouterr().err == f"wrote {tmp_path}/s.py\n"
    assert main([*arguments, "--check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_command_reports_a_wrong_definition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.idl"
    path.write_text("first 1000;\nservice s { rpc a(); }", encoding="utf-8")
    assert main([str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {path}:2: unexpected ';'")


def test_command_refuses_outputs_without_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--c", "x.h"])
    assert caught.value.code == 2
    assert "need a definition file" in capsys.readouterr().err


def test_command_outside_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wasmos.idl.outputs.__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    assert main(["--check"]) == 1
    assert "messages.idl: can't be read" in capsys.readouterr().err
