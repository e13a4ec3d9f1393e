"""The header compiles without a murmur, states the same numbers as the Python side, and works."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from tests.idl.guest import INCLUDE, CompileError, Guest, message
from wasmos import abi
from wasmos.idl import generate

HEADER = (INCLUDE / "wasmos.h").read_text(encoding="utf-8")

Compile = Callable[..., Path]


def no_answer(dst: int, request: bytes) -> int:
    raise AssertionError(f"the guest called {dst} with {request[:16]!r}")


def console(written: list[bytes], most: int = 1024) -> Callable[[int, bytes], bytes]:
    """A console that takes at most so many bytes at once."""

    def answer(dst: int, request: bytes) -> bytes:
        (type_,) = struct.unpack_from("<i", request)
        (length,) = struct.unpack_from("<I", request, 8 + 1024)
        assert type_ == abi.ConsoleWrite.TYPE
        part = request[8 : 8 + min(length, most)]
        written.append(part)
        return message(abi.ConsoleWriteReply.TYPE, struct.pack("<I", len(part)))

    return answer


# ---- numbers


def test_message_numbers_are_those_of_abi() -> None:
    defined = dict(re.findall(r"^#define (\w+)_MSG (\d+)$", HEADER, re.MULTILINE))
    assert defined == {cls.NAME.upper(): str(number) for number, cls in abi.MESSAGES.items()}


def test_error_codes_are_those_of_abi() -> None:
    defined = dict(re.findall(r"^#define ERR_(\w+) (-\d+)$", HEADER, re.MULTILINE))
    assert defined == {code.name: str(code.value) for code in abi.ErrorCode if code}


def test_other_numbers_are_those_of_abi() -> None:
    defined = dict(re.findall(r"^#define (\w+) (-?\d+)\b", HEADER, re.MULTILINE))
    assert int(defined["OK"]) == abi.ErrorCode.OK
    assert int(defined["IPC_ANY"]) == abi.IPC_ANY
    assert int(defined["FROM_KERNEL"]) == abi.FROM_KERNEL
    assert int(defined["VM_SERVER"]) == abi.VM


# ---- compiling


@pytest.mark.parametrize("options", [["-O0"], ["-Os"], ["-std=c17"], ["-std=c2x"], ["-std=gnu11"]])
def test_header_compiles(compile_c: Compile, options: list[str]) -> None:
    compile_c('#include "wasmos.h"\n#include "wasmos.h"\nint main(void) { return 0; }', *options)


def test_a_program_has_the_imports_and_exports_of_the_interface(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) {
            struct message m;
            task_t task = ipc_lookup("pong");
            m.type = PING_MSG;
            m.ping.value = 123;
            if (IS_ERROR(ipc_call(task, &m))) return 1;
            if (IS_ERROR(ipc_recv(IPC_ANY, &m))) return 2;
            ipc_reply(m.src, &m);
            return m.ping_reply.value;
        }
    """)
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(path))
    types = {
        f"{import_.module}.{import_.name}": (len(type_.params), len(type_.results))
        for import_ in module.imports
        if isinstance(type_ := import_.type, wasmtime.FuncType)
    }
    assert types == {
        "env.ipc_lookup": (1, 1),
        "env.ipc_call": (2, 1),
        "env.ipc_recv": (2, 1),
        "env.ipc_reply": (2, 0),
    }
    assert sorted(export.name for export in module.exports) == ["main", "memory"]


@pytest.mark.parametrize(
    ("main", "results"), [("int main(void) { return 7; }", 1), ("void main(void) {}", 0)]
)
def test_main_takes_nothing(compile_c: Compile, main: str, results: int) -> None:
    path = compile_c(f'#include "wasmos.h"\n{main}')
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(path))
    (type_,) = (export.type for export in module.exports if export.name == "main")
    assert isinstance(type_, wasmtime.FuncType)
    assert (len(type_.params), len(type_.results)) == (0, results)


def test_main_can_be_left_alone(compile_c: Compile) -> None:
    path = compile_c('#define WASMOS_NO_MAIN\n#include "wasmos.h"\nint main(void) { return 0; }')
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(path))
    assert [export.name for export in module.exports] == ["memory"]


def test_another_layout_is_refused(compile_c: Compile) -> None:
    source = '#pragma pack(1)\n#include "wasmos.h"\nint main(void) { return 0; }'
    with pytest.raises(CompileError, match="tcpip_connect"):
        compile_c(source)


def test_users_header_holds_everything(compile_c: Compile, tmp_path: Path) -> None:
    (tmp_path / "store.idl").write_text(
        "first 1000;\n"
        "/// Ends a comment: */ and begins one: /* and \\\n"
        "service store {\n"
        "    /// Ends a comment: */ and a line: \\\n"
        "    /// Ends another: */\n"
        "    rpc store_get(key: cstr[30], flags: uint16) -> (value: bytes[61], mac: uint8[5]);\n"
        "}\n",
        encoding="utf-8",
    )
    generate([tmp_path / "store.idl"], c=tmp_path / "store.h")
    source = """
        #include "store.h"
        int main(void) {
            struct message m;
            m.type = STORE_GET_MSG;
            m.store_get.flags = 7;
            m.store_get_reply.value_len = sizeof(m.store_get_reply.mac);
            return (int)m.fs_open.flags + strcpy_safe(m.store_get.key, 30, "key");
        }
    """
    compile_c(source, include=tmp_path)
    with pytest.raises(CompileError, match="two generated headers are included"):
        compile_c(f'#include "store.h"\n#include "{INCLUDE}/wasmos.h"', include=tmp_path)


LENDING = """first 1000;
service store {
    rpc store_save(flags: uint16, at: int64, data: lent) -> (end: int64);
    rpc store_load(at: int64, into: lent_out, last: uint16) -> (len: uint32, next: int64);
}
"""


def test_64_bit_numbers_and_lent_memory(compile_c: Compile, tmp_path: Path) -> None:
    """At any address, as all of a message: what says so is the header, to the compiler."""
    (tmp_path / "store.idl").write_text(LENDING, encoding="utf-8")
    generate([tmp_path / "store.idl"], c=tmp_path / "store.h")
    path = compile_c(
        """
        #include "store.h"
        static char text[] = "to be saved";
        static struct { int32_t shift; struct message m; } box;
        WASMOS_EXPORT("text") char *where(void) { return text; }
        int main(void) {
            struct message *m = &box.m; /* at 4 or 12, never at 8 */
            m->type = STORE_SAVE_MSG;
            m->store_save.flags = 0xffff;
            m->store_save.at = -((wasmos_int64_t)1 << 62);
            m->store_save.data = (uint32_t)(uintptr_t)text;
            m->store_save.data_len = sizeof(text);
            error_t err = ipc_ask(7, m);
            return IS_ERROR(err) ? err : m->store_save_reply.end == -2 ? 1 : 0;
        }
        """,
        include=tmp_path,
    )
    seen: list[tuple[int, ...]] = []

    def answer(dst: int, request: bytes) -> bytes:
        seen.append((dst, *struct.unpack_from("<iiHxxqII", request)))
        return message(1001, struct.pack("<q", -2))

    guest = Guest(path, answer)
    assert guest.call("main") == 1
    assert seen == [(7, 1000, seen[0][2], 0xFFFF, -(1 << 62), guest.call("text"), 12)]


@pytest.mark.parametrize("options", [[], ["-std=c2x"], ["-std=gnu11", "-O0"]])
def test_a_64_bit_number_has_the_alignment_of_all(compile_c: Compile, options: list[str]) -> None:
    compile_c(
        """
        #include "wasmos.h"
        _Static_assert(_Alignof(wasmos_int64_t) == 4 && sizeof(wasmos_int64_t) == 8, "");
        _Static_assert(offsetof(struct message, fs_read_at.offset) == 12, "");
        _Static_assert(offsetof(struct message, fs_read_at.into_len) == 24, "");
        int main(void) { return 0; }
        """,
        *options,
    )


def test_one_with_the_alignment_of_the_machine_is_refused(
    compile_c: Compile, tmp_path: Path
) -> None:
    typedef = "typedef int64_t wasmos_int64_t __attribute__((aligned(4)));"
    assert typedef in HEADER
    text = HEADER.replace(typedef, "typedef int64_t wasmos_int64_t;")
    (tmp_path / "wasmos.h").write_text(text, encoding="utf-8")
    with pytest.raises(CompileError, match="fs_read_at") as caught:
        compile_c('#include "wasmos.h"\nint main(void) { return 0; }', include=tmp_path)
    assert "wasmos_int64_t" in str(caught.value)


# ---- running


def test_functions_the_compiler_calls(compile_c: Compile) -> None:
    """Through volatile pointers, so that these and not the compiler's own are run."""
    path = compile_c("""
        #include "wasmos.h"
        static void *(*volatile copy)(void *, const void *, size_t) = memcpy;
        static void *(*volatile move)(void *, const void *, size_t) = memmove;
        static void *(*volatile set)(void *, int, size_t) = memset;
        static int (*volatile compare)(const void *, const void *, size_t) = memcmp;
        static size_t (*volatile length)(const char *) = strlen;
        static int (*volatile order)(const char *, const char *) = strcmp;
        int main(void) {
            char text[16];
            if (copy(text, "abcdef", 7) != text || length(text) != 6) return 1;
            move(text + 2, text, 5);
            if (compare(text, "ababcde", 7) != 0) return 2;
            move(text, text + 2, 5);
            if (compare(text, "abcdede", 7) != 0) return 3;
            if (set(text, 0x1ff, 3) != text || compare(text, "\\xff\\xff\\xff" "ded", 6)) return 4;
            if (compare("a\\x80", "a\\x7f", 2) <= 0 || compare("ab", "ac", 1) != 0) return 5;
            if (order("ab", "ab") || order("ab", "abc") >= 0 || order("\\x80", "a") <= 0) return 6;
            if (length("") != 0 || compare("a", "b", 0) != 0) return 7;
            if (strcpy_safe(text, 4, "abcd") != ERR_TOO_LARGE || text[0] != '\\xff') return 8;
            if (strcpy_safe(text, 5, "abcd") != OK || order(text, "abcd")) return 9;
            return 0;
        }
    """)
    assert Guest(path, no_answer).call("main") == 0


def test_print(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) {
            print("a ");
            print_int(0); print(" ");
            print_int(-2147483647 - 1); print(" ");
            print_int(2147483647); print(" ");
            print_uint(4294967295u); print(" ");
            print_hex(0xdeadbeef); print(" ");
            return print("");
        }
    """)
    written: list[bytes] = []
    guest = Guest(path, console(written))
    assert guest.call("main") == 0
    assert b"".join(written) == b"a 0 -2147483648 2147483647 4294967295 deadbeef "
    assert guest.names == ["console"], "looked up more than once"


@pytest.mark.parametrize(("most", "parts"), [(1024, [1024, 1024, 452]), (1000, [1000, 1000, 500])])
def test_print_goes_on_where_the_console_stopped(
    compile_c: Compile, most: int, parts: list[int]
) -> None:
    path = compile_c("""
        #include "wasmos.h"
        static char text[2501];
        int main(void) {
            for (int i = 0; i < 2500; i++) text[i] = (char)('a' + i % 26);
            return print(text);
        }
    """)
    written: list[bytes] = []
    assert Guest(path, console(written, most)).call("main") == 0
    assert [len(part) for part in written] == parts
    assert b"".join(written) == bytes(ord("a") + i % 26 for i in range(2500))


REPLY = abi.ConsoleWriteReply.TYPE


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (message(REPLY, struct.pack("<I", 3)), abi.ErrorCode.UNEXPECTED),
        (message(REPLY, struct.pack("<I", 2**32 - 1)), abi.ErrorCode.UNEXPECTED),
        (message(REPLY, struct.pack("<I", 0)), abi.ErrorCode.UNEXPECTED),
        (message(abi.PingReply.TYPE, struct.pack("<I", 2)), abi.ErrorCode.UNEXPECTED),
        (message(abi.ErrorCode.NOT_ALLOWED), abi.ErrorCode.NOT_ALLOWED),
        (int(abi.ErrorCode.ABORTED), abi.ErrorCode.ABORTED),
    ],
)
def test_print_survives_any_console(compile_c: Compile, answer: bytes | int, result: int) -> None:
    path = compile_c('#include "wasmos.h"\nint main(void) { return print("hi"); }')
    assert Guest(path, lambda dst, request: answer).call("main") == result


def test_read_input(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) {
            char text[8] = "1234567";
            int got = read_input(text, 4);
            return IS_ERROR(got) ? got : text[0] * 256 + text[got] + got * 65536;
        }
    """)

    def answering(answer: bytes) -> int:
        def answer_(dst: int, request: bytes) -> bytes:
            assert struct.unpack_from("<iiI", request) == (abi.ConsoleRead.TYPE, 0, 4)
            return answer

        return Guest(path, answer_).call("main")

    type_ = abi.ConsoleReadReply.TYPE
    data = b"xyz".ljust(1024, b"?")
    got = answering(message(type_, data + struct.pack("<I", 2)))
    assert got == 2 * 65536 + ord("x") * 256 + ord("3")
    assert answering(message(abi.ErrorCode.EOF)) == abi.ErrorCode.EOF
    too_long = message(type_, data + struct.pack("<I", 5))
    assert answering(too_long) == abi.ErrorCode.UNEXPECTED


def test_arguments(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) {
            char value[8];
            if (arg_count() != 2) return 1;
            if (arg_get(1, value, sizeof(value)) || strcmp(value, "arg 1")) return 2;
            if (arg_get(1, value, 5) != ERR_TOO_LARGE) return 3;
            return arg_get(9, value, sizeof(value));
        }
    """)

    def answer(dst: int, request: bytes) -> bytes:
        type_, _, index = struct.unpack_from("<iii", request)
        assert type_ == abi.ArgsGet.TYPE
        if index == 9:
            return message(abi.ErrorCode.NOT_FOUND)
        return message(abi.ArgsGetReply.TYPE, struct.pack("<i1024s", 2, b"arg %d" % index))

    assert Guest(path, answer).call("main") == abi.ErrorCode.NOT_FOUND


def test_environment(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) {
            char value[8], name[257];
            if (env_get("HOME", value, sizeof(value)) || strcmp(value, "=HOME")) return 1;
            if (env_get("HOME", value, 5) != ERR_TOO_LARGE) return 2;
            memset(name, 'n', 256);
            name[256] = '\\0';
            if (env_get(name, value, sizeof(value)) != ERR_TOO_LARGE) return 3;
            return env_get("PATH", value, sizeof(value));
        }
    """)
    asked: list[bytes] = []

    def answer(dst: int, request: bytes) -> bytes:
        type_, _, field = struct.unpack_from("<ii256s", request)
        assert type_ == abi.EnvGet.TYPE
        asked.append(field.split(b"\0")[0])
        if asked[-1] == b"PATH":
            return message(abi.ErrorCode.NOT_FOUND)
        return message(abi.EnvGetReply.TYPE, struct.pack("<1024s", b"=" + asked[-1]))

    guest = Guest(path, answer)
    assert guest.call("main") == abi.ErrorCode.NOT_FOUND
    assert asked == [b"HOME", b"HOME", b"PATH"]
    assert set(guest.names) == {"env"}


def test_an_environment_without_an_end(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) { char value[1024]; return env_get("A", value, 1024) + (int)strlen(value); }
    """)
    reply = message(abi.EnvGetReply.TYPE, b"x" * 1024)
    assert Guest(path, lambda dst, request: reply).call("main") == 1023


def test_capabilities(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) {
            static char rule[1025];
            memset(rule, 'r', 1024);
            if (cap_grant(5, rule) != ERR_TOO_LARGE) return 1;
            int cap = cap_grant(5, "tcpip.listen(listen_port=80)");
            if (cap != 77) return 2;
            if (cap_grant(6, "*") != ERR_NOT_ALLOWED) return 3;
            if (cap_revoke(cap) != OK) return 4;
            return cap_revoke(78);
        }
    """)
    asked: list[tuple[int, ...] | tuple[int, bytes]] = []

    def answer(dst: int, request: bytes) -> bytes:
        assert dst == abi.VM
        type_, _, number = struct.unpack_from("<iii", request)
        if type_ == abi.CapRevoke.TYPE:
            asked.append((number,))
            return message(abi.CapRevokeReply.TYPE if number == 77 else abi.ErrorCode.NOT_FOUND)
        assert type_ == abi.CapGrant.TYPE
        asked.append((number, request[12:].split(b"\0")[0]))
        if number == 6:
            return message(abi.ErrorCode.NOT_ALLOWED)
        return message(abi.CapGrantReply.TYPE, struct.pack("<i", 77))

    assert Guest(path, answer).call("main") == abi.ErrorCode.NOT_FOUND
    assert asked == [(5, b"tcpip.listen(listen_port=80)"), (6, b"*"), (77,), (78,)]


def test_meanings_and_covers_are_not_in_the_header(tmp_path: Path) -> None:
    fields = "host: cstr[9]{}, port: uint16{}"
    text = "first 1000; service s {{ rpc sm({}) -> (); rpc su() -> (){}; {} }}"
    plain, full = tmp_path / "a" / "s.idl", tmp_path / "b" / "s.idl"
    for path, parts in (
        (plain, (fields.format("", ""), "", "")),
        (full, (fields.format(" as hostname", " as port"), " with sm", "badge dir;")),
    ):
        path.parent.mkdir()
        path.write_text(text.format(*parts), encoding="utf-8")
        generate([path], c=path.with_suffix(".h"))
    assert plain.with_suffix(".h").read_bytes() == full.with_suffix(".h").read_bytes()


def test_assert_ok_says_what_failed(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        int main(void) { ASSERT_OK(1); ASSERT_OK(ERR_NOT_FOUND); return 0; }
    """)
    written: list[bytes] = []
    with pytest.raises(wasmtime.Trap):
        Guest(path, console(written)).call("main")
    assert b"".join(written).endswith(b"guest.c: ERR_NOT_FOUND: not found\n")


def test_error_names_are_those_of_abi(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        WASMOS_EXPORT("say") int say(int err) { return print(error_name(err)); }
    """)
    written: list[bytes] = []
    guest = Guest(path, console(written))
    for code in abi.ErrorCode:
        guest.call("say", code)
    for number in (1, -42, -(2**31)):
        guest.call("say", number)
    assert [part.decode() for part in written] == [
        *(abi.error_name(code) for code in abi.ErrorCode),
        *["unknown error"] * 3,
    ]


def test_an_active_service(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        static void handle(struct message *m) {
            switch (m->type) {
            case PING_MSG:
                m->ping_reply.value = m->ping.value + 1;
                m->type = PING_REPLY_MSG;
                break;
            case TASK_DESTROYED_MSG:
                m->type = NO_REPLY;
                break;
            default:
                m->type = ERR_NOT_SUPPORTED;
            }
        }
        int main(void) {
            ASSERT_OK(ipc_register("pong"));
            reply_error(9, ERR_EOF);
            return ipc_serve(handle);
        }
    """)
    registered: list[bytes] = []

    def answer(dst: int, request: bytes) -> bytes:
        assert dst == abi.VM
        registered.append(request[:13])
        return message(abi.ServiceRegisterReply.TYPE)

    guest = Guest(path, answer)
    guest.inbox = [
        message(abi.Ping.TYPE, struct.pack("<i", 41), src=5),
        message(abi.TaskDestroyed.TYPE, struct.pack("<i", 5), src=1),
        message(abi.Notify.TYPE, struct.pack("<i", 5), src=abi.FROM_KERNEL),
        message(12345, src=6),
    ]
    assert guest.call("main") == abi.ErrorCode.ABORTED
    (request,) = registered
    assert struct.unpack_from("<i", request) == (abi.ServiceRegister.TYPE,)
    assert request[8:] == b"pong\0"
    heads = [(dst, struct.unpack_from("<i", reply)[0]) for dst, reply in guest.replies]
    assert heads == [(9, -27), (5, abi.PingReply.TYPE), (6, -9)]
    assert struct.unpack_from("<i", guest.replies[1][1], 8) == (42,)


def test_a_name_that_does_not_fit_is_not_cut(compile_c: Compile) -> None:
    name = "n" * 64
    path = compile_c(f'#include "wasmos.h"\nint main(void) {{ return ipc_register("{name}"); }}')
    assert Guest(path, no_answer).call("main") == abi.ErrorCode.TOO_LARGE


def test_a_passive_service(compile_c: Compile) -> None:
    path = compile_c("""
        #include "wasmos.h"
        WASMOS_PASSIVE(handle);
        static void handle(struct message *m) {
            if (m->type != PING_MSG) { m->type = ERR_NOT_SUPPORTED; return; }
            m->ping_reply.value = 42;
            m->type = PING_REPLY_MSG;
        }
    """)
    guest = Guest(path, no_answer)
    assert sorted(e.name for e in guest.module.exports) == ["ipc_buffer", "ipc_handle", "memory"]
    assert not guest.module.imports
    buffer = guest.call("ipc_buffer")
    assert buffer % 4 == 0
    assert buffer == guest.call("ipc_buffer")
    guest.write(buffer, message(abi.Ping.TYPE, struct.pack("<i", 1), src=7))
    guest.call("ipc_handle", buffer)
    assert guest.read(buffer)[:12] == message(abi.PingReply.TYPE, struct.pack("<i", 42), src=7)
    guest.write(buffer, message(abi.Echo.TYPE, src=7))
    guest.call("ipc_handle", buffer)
    assert guest.read(buffer)[:4] == struct.pack("<i", abi.ErrorCode.NOT_SUPPORTED)
