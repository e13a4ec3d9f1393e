"""Messages of one's own that lend memory: a definition, a guest in C, a service in Python."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import wasmos
from tests.idl.guest import compile_guest
from wasmos import abi
from wasmos.idl import generate

DEFINITION = """first 1000;

/// Pictures under names.
service album {
    /// Keep a picture, with the time when it was taken.
    rpc album_keep(name: cstr[32] as name, taken_ns: int64, picture: lent) -> (total: int64);

    /// Look at one. "Too large" if it doesn't fit.
    rpc album_look(name: cstr[32] as name, into: lent_out) -> (taken_ns: int64, len: uint32);
}
"""

GUEST = """
#include "album.h"
static uint8_t picture[100000];

int main(void) {
    struct message m;
    task_t album = ipc_lookup("album");
    for (size_t i = 0; i < sizeof(picture); i++) picture[i] = (uint8_t)(i >> 8);
    m.type = ALBUM_KEEP_MSG;
    strcpy_safe(m.album_keep.name, sizeof(m.album_keep.name), "sea");
    m.album_keep.taken_ns = -5000000000;
    m.album_keep.picture = (uint32_t)(uintptr_t)picture;
    m.album_keep.picture_len = sizeof(picture);
    ASSERT_OK(ipc_ask(album, &m));
    if (m.album_keep_reply.total != sizeof(picture) + ((wasmos_int64_t)1 << 40)) return 1;

    memset(picture, 0, sizeof(picture));
    m.type = ALBUM_LOOK_MSG;
    strcpy_safe(m.album_look.name, sizeof(m.album_look.name), "sea");
    m.album_look.into = (uint32_t)(uintptr_t)picture + 1;
    m.album_look.into_len = sizeof(picture) - 1;
    if (ipc_ask(album, &m) != ERR_TOO_LARGE) return 2;
    m.type = ALBUM_LOOK_MSG;
    strcpy_safe(m.album_look.name, sizeof(m.album_look.name), "sea");
    m.album_look.into = (uint32_t)(uintptr_t)picture;
    m.album_look.into_len = sizeof(picture);
    ASSERT_OK(ipc_ask(album, &m));
    if (m.album_look_reply.taken_ns != -5000000000) return 3;
    if (m.album_look_reply.len != sizeof(picture)) return 4;
    return picture[sizeof(picture) - 1] == (uint8_t)(99999 >> 8) ? 0 : 5;
}
"""


@pytest.fixture
def album(tmp_path: Path) -> ModuleType:
    """The module that was made of the definition; the header is beside it."""
    (tmp_path / "album.idl").write_text(DEFINITION, encoding="utf-8")
    module = tmp_path / "album_messages.py"
    generate([tmp_path / "album.idl"], c=tmp_path / "album.h", python=module)
    spec = importlib.util.spec_from_file_location("album_messages", module)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def service(album: ModuleType) -> wasmos.Service:
    class Album(wasmos.Service):
        name = "album"
        interface = album

        def __init__(self) -> None:
            self.pictures: dict[str, tuple[int, bytes]] = {}

        def album_keep(
            self, caller: wasmos.Caller, name: str, taken_ns: int, picture: wasmos.Lent
        ) -> int:
            self.pictures[name] = taken_ns, picture.read()
            return sum(len(data) for _, data in self.pictures.values()) + (1 << 40)

        async def album_look(
            self, caller: wasmos.Caller, name: str, into: wasmos.Lent
        ) -> tuple[int, int]:
            taken_ns, data = self.pictures[name]
            if len(data) > len(into):
                raise wasmos.ServiceError(abi.ErrorCode.TOO_LARGE)
            half = into.write(data[: len(data) // 2])
            await self.kernel.sleep(0.001)
            return taken_ns, half + into.write(data[half:], half)

    return Album()


def test_a_guest_lends_to_a_service_of_ones_own(album: ModuleType, tmp_path: Path) -> None:
    path = compile_guest(GUEST, tmp_path, include=tmp_path)
    with wasmos.Kernel() as kernel:
        kernel.serve(service(album))
        rules = ["album.keep(len(picture)=..100000, taken_ns=..-1)", "album.look"]
        assert kernel.wait(kernel.spawn(path, allow=rules, trusted=True)).code == 0
        rules[0] = "album.keep(len(picture)=..99999)"
        ended = kernel.wait(kernel.spawn(path, allow=rules, trusted=True))
        assert ended.cause == "trapped"  # ASSERT_OK


def test_a_client_in_python_lends_to_it(album: ModuleType) -> None:
    with wasmos.Kernel() as kernel:
        kernel.serve(service(album))
        kernel.call("album", album.AlbumKeep("sea", -1, b"blue"))
        room = bytearray(10)
        answer = kernel.call("album", album.AlbumLook("sea", room))
        assert (answer.taken_ns, answer.len, room) == (-1, 4, b"blue" + bytes(6))
