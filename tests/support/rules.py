"""Random rules and messages, about a service made for that, and what the kernel does with tests.

`LAB` is an interface with a field of each kind and each meaning, small enough that random rules and
random messages meet: its texts are of few letters, and its numbers near to each other.
"""

from __future__ import annotations

import re
import struct
from types import SimpleNamespace

from hypothesis import strategies as st

from wasmos import _core, abi
from wasmos.abi import BYTES, CSTR, INT32, UINT8_ARRAY, UINT16, UINT32, Field, Message, Rpc
from wasmos.kernel.rule_text import quote
from wasmos.kernel.vocabulary import Vocabulary


def _message(name: str, number: int, *fields: Field) -> type[Message]:
    size = max([8, *(f.offset + f.size for f in fields), *(f.len_offset + 4 for f in fields)])

    def make(self: Message, **values: object) -> None:
        for field in fields:
            zero: object = {CSTR: "", BYTES: b"", UINT8_ARRAY: b"\0" * field.size}.get(
                field.kind, 0
            )
            setattr(self, field.name, values.get(field.name, zero))

    body = {
        "__slots__": tuple(f.name for f in fields), "TYPE": number, "NAME": name,
        "SIZE": size, "FIELDS": fields, "__init__": make,
    }  # fmt: skip
    return type(name.title().replace("_", ""), (Message,), body)


Mix = _message(
    "lab_mix", 1001,
    Field("whole", INT32, 8, 4), Field("count", UINT32, 12, 4),
    Field("port", UINT16, 16, 2, meaning="port"),
    Field("text", CSTR, 18, 6), Field("data", BYTES, 24, 8, 32), Field("mac", UINT8_ARRAY, 36, 6),
    Field("addr", UINT32, 44, 4, meaning="ipv4"),
)  # fmt: skip
Names = _message(
    "lab_names", 1003,
    Field("host", CSTR, 8, 8, meaning="hostname"), Field("path", CSTR, 16, 8, meaning="path"),
    Field("me", CSTR, 24, 4, meaning="own_name"),
)  # fmt: skip
After = _message("lab_after", 1005, Field("addr", UINT32, 8, 4, meaning="ipv4"))
Later = _message("lab_later", 1007, Field("fd", INT32, 8, 4))
Told = _message("lab_told", 1009, Field("fd", INT32, 8, 4))
Heard = _message("lab_heard", 1010)
Bare = _message("mix", 1011, Field("fd", INT32, 8, 4))
REQUESTS = (Mix, Names, After, Later, Told, Bare)

LAB = SimpleNamespace(
    MESSAGES={cls.TYPE: cls for cls in (*REQUESTS, Heard)},
    RPCS={cls.NAME: Rpc(cls.NAME, cls, cls) for cls in (Mix, Names, After, Later, Bare)},
    ONEWAYS={"lab_told": Told, "lab_heard": Heard},
    SERVICES={"lab": tuple(cls.NAME for cls in REQUESTS), "lab2": ("lab_mix", "ping")},
    EVENTS={"lab": ("lab_heard",)},
    KERNEL_ONLY=frozenset(),
    # Later belongs to what After makes, and that to what Mix does.
    COVERED_BY={1005: (1001,), 1007: (1005, 1003)},
    BADGES={"lab": ("dir", "mode")},
)


def vocabulary() -> Vocabulary:
    return Vocabulary(abi, LAB)


VOCABULARY = vocabulary()

# --- random rules, as somebody might write them ---

_EDGES = [
    0,
    1,
    7,
    0x00FFFFFF,
    0x01000000,
    0x0A000000,
    0x0A0000FF,
    0x7F000001,
    0xC0A80000,
    0xFFFFFFFF,
]
_addresses = st.sampled_from(_EDGES) | st.integers(0, 0xFFFF_FFFF)
_texts = st.text(st.sampled_from("ab.AB/é\udcff\x01"), max_size=4)
_patterns = st.text(st.sampled_from("ab.A/*?"), max_size=5) | _texts


def _numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(max(low, -9), min(high, 9)) | st.integers(low, high)

    def text(ends: tuple[int, int], form: int) -> str:
        first, last = sorted(ends)
        return [str(first), f"{first}..{last}", f"{first} ..", f"..{last}", f"{first}..{first}"][
            form
        ]

    return st.builds(text, st.tuples(number, number), st.integers(0, 4))


@st.composite
def _network(draw: st.DrawFn) -> str:
    bits = draw(st.integers(0, 32))
    address = draw(_addresses) >> (32 - bits) << (32 - bits)
    quad = ".".join(map(str, address.to_bytes(4, "big")))
    return quote(draw(st.sampled_from([f"{quad}/{bits}", "any", "all"])))


def _good(pattern: str, field: Field) -> bool:
    """The few texts that no rule may hold."""
    from wasmos.kernel import pattern as patterns

    try:
        tokens = patterns.parse(pattern, patterns.mode_of(field))
    except ValueError:
        return False
    return patterns.least_size(tokens) < field.size


def _values(field: Field) -> st.SearchStrategy[str]:
    if field.kind == CSTR:
        return _patterns.filter(lambda text: _good(text, field)).map(quote)
    if field.meaning == "ipv4":
        return _network() | _numbers(0, 0xFFFF_FFFF) | st.sampled_from(["any", "all"])
    low, high = {INT32: (-(1 << 31), (1 << 31) - 1), UINT16: (0, 0xFFFF)}.get(
        field.kind, (0, 0xFFFF_FFFF)
    )
    return _numbers(low, high)


@st.composite
def _items(draw: st.DrawFn, cls: type[Message]) -> list[str]:
    items = []
    for field in cls.FIELDS:
        keys = []
        if field.kind not in (BYTES, UINT8_ARRAY):
            keys.append((field.name, _values(field)))
        if field.kind in (BYTES, CSTR):
            most = field.size - (field.kind == CSTR)
            keys.append((f"len({field.name})", _numbers(0, most)))
        for key, values in keys:
            if draw(st.integers(0, 2)) == 0:
                found = draw(st.lists(values, min_size=1, max_size=3))
                items.append(
                    f"{key}={found[0]}" if len(found) == 1 else f"{key} = [{','.join(found)}]"
                )
    return items


@st.composite
def rule_texts(draw: st.DrawFn, *, lifetimes: bool = True, services: bool = True) -> str:
    """Rules about `lab`, and now and then about everything."""
    if services and draw(st.integers(0, 19)) == 0:
        head, items = draw(st.sampled_from(["*", "lab2", '"an other"'])), []
    else:
        cls = draw(st.none() | st.sampled_from(REQUESTS))
        head = "lab" + ("" if cls is None else f".{VOCABULARY.short('lab', cls)}")
        items = [] if cls is None else draw(_items(cls))
        if draw(st.integers(0, 3)) == 0:
            items.append(f"dir={quote(draw(_texts))}")
        if draw(st.integers(0, 3)) == 0:
            items.append(f"mode='{draw(st.sampled_from(['ro', 'rw']))}'")
    items = draw(st.permutations(items))
    text = head + (f"({', '.join(items)})" if items else "")
    return text + (draw(_lifetimes) if lifetimes else "")


_lifetimes = st.sampled_from(
    ["", "", "", " once", " 2 times", " 1 times", " for 60s", " for 1.5 h", " for 250ms 3 times"]
)


# --- random messages ---

_hosts = st.sampled_from(["", "a", "A.b", "a.B.", ".b", "b.", ".", "..", "x.a.b"])
_paths = st.sampled_from(
    ["", "/", "//", "a", "/a", "a/", "/a/b", "a//b", "a/.", "..", "a/../b", "ab/a"]
)


def _value(field: Field) -> st.SearchStrategy[object]:
    if field.kind == CSTR:
        known = {"hostname": _hosts, "path": _paths}.get(field.meaning, st.just("a"))
        return (known | _texts).filter(
            lambda text: len(text.encode("utf-8", "surrogateescape")) < field.size
        )
    if field.kind in (BYTES, UINT8_ARRAY):
        least = field.size if field.kind == UINT8_ARRAY else 0
        return st.binary(min_size=least, max_size=field.size)
    if field.meaning == "ipv4":
        return _addresses
    low, high = {INT32: (-(1 << 31), (1 << 31) - 1), UINT16: (0, 0xFFFF)}.get(
        field.kind, (0, 0xFFFF_FFFF)
    )
    return st.integers(max(low, -10), 10) | st.integers(low, high)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    cls = draw(st.sampled_from(REQUESTS))
    return cls(**{field.name: draw(_value(field)) for field in cls.FIELDS})


def encoded(message: Message) -> bytes:
    raw: bytes = _core.Layout(type(message)).encode(message)
    return raw


# --- what the kernel does with compiled tests, said in another way ---


def passes(test: tuple[object, ...], raw: bytes, unsure: bool = False) -> bool:
    """One compiled test of a message as it lies in memory."""
    kind, offset, size, *rest = test
    assert isinstance(offset, int) and isinstance(size, int)
    field = raw[offset : offset + size]
    if kind == "int":
        signed, intervals = rest
        form = {(2, False): "<H", (4, False): "<I", (4, True): "<i"}[size, signed]
        return any(low <= struct.unpack(form, field)[0] <= high for low, high in intervals)
    text, nul, _ = field.partition(b"\0")
    if not nul:
        return unsure
    if kind == "strlen":
        return any(low <= len(text) <= high for low, high in rest[0])
    mode, patterns = rest
    if mode == "hostname":
        text = re.sub(rb"\.$", b"", text.lower())
    if mode == "path":
        text = re.sub(rb"/$", b"", re.sub(rb"^/", b"", text))
        if text and re.search(rb"(^|/)\.{0,2}(/|$)", text):
            return unsure
    return any(matches(pattern, text, mode) for pattern in patterns)


def matches(pattern: tuple[str, bytes | tuple[int, ...]], text: bytes, mode: str) -> bool:
    kind, value = pattern
    if kind == "is":
        return text == value
    if kind == "ends":
        return text.endswith(value) and text != value
    one = rb"[^/]" if mode == "path" else rb"."
    regex = {256: one, 257: rb"[^/]*", 258: rb".*"}
    whole = b"".join(regex.get(token) or re.escape(bytes([token])) for token in value)
    return re.fullmatch(whole, text, re.DOTALL) is not None
