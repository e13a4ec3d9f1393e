"""What people write instead of rules, for the rights that are wanted most.

Law: each of them is one or two rules and nothing else; what they stand for can be written out. It
reads nothing of the host but its working directory, and whether a "directory" is a file.

    ./data::/data:ro     fs(dir="/abs/data", at="/data", mode="ro")
    ./data::/d:overlay   fs(dir="/abs/data", at="/d", mode="overlay")
    .::., .              fs(dir="/abs", at="/", mode="rw")
    ./lib.zip::/lib      fs(archive="/abs/lib.zip", at="/lib", mode="ro"), for a zip or tar file
    8080:80              tcpip.listen(bind="127.0.0.1:8080", listen_port=80)
    example.com:443      tcpip.dns_resolve(hostname="example.com"),
                         tcpip.connect(host="example.com", dst_port=443)
    10.1.0.0/16:443      tcpip.connect(dst_addr="10.1.0.0/16", dst_port=443)
    any, all             tcpip.connect(dst_addr="all") and names; without dst_addr, public ones
    NAME, NAME=VALUE     env.get(name="NAME")
"""

from __future__ import annotations

import os

from wasmos.errors import RuleError, UsageError
from wasmos.kernel import Rule
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    PathLike: TypeAlias = str | os.PathLike[str]
    # A mapping is from a path of the host to `GUEST[:MODE]`.
    Directories: TypeAlias = PathLike | Iterable[PathLike] | Mapping[Any, PathLike]

WORDS = ("none", "any", "all")
MODES = ("ro", "rw", "overlay")  # of a directory


def quoted(text: str) -> str:
    """A text as rules have it."""
    return str(Rule("x", badge={"x": text}))[len("x(x=") : -1]


def directories(given: Directories) -> list[tuple[str, str]]:
    """Each with its rule. Raises UsageError, too if two are seen at the same place: the first one
    would hide the other, whatever that says of writing."""
    found: dict[str, tuple[str, str]] = {}
    for each in _each(given):
        text, rule = _shown(each), directory(each)
        place = Rule.parse(rule).badge["at"]
        if place in found:
            raise UsageError(
                f"directories {found[place][0]!r} and {text!r} are both at {place}; "
                "say for one of them where else the program sees it"
            )
        found[place] = text, rule
    return list(found.values())


def _each(given: Directories) -> Iterable[object]:
    if isinstance(given, str | os.PathLike):
        return (given,)
    items: Any = getattr(given, "items", None)
    each: Iterable[object] = given if items is None else items()
    return each


def _shown(given: object) -> str:
    """What was given, as one would have written it."""
    if isinstance(given, str):
        return given
    return "::".join(map(str, given)) if isinstance(given, tuple) else str(given)


def directory(given: object) -> str:
    """The rule for `HOST[::GUEST][:ro|:rw|:overlay]`; for a path, which is one of the host's,
    whatever is in it; or for a path with its `GUEST[:MODE]`. Raises UsageError."""
    text = _shown(given)
    if isinstance(given, str):
        where, mode = _moded(given)
        host, colons, guest = where.partition("::")
        if not mode:  # one with a typing error isn't part of a path that may be written to
            _check_no_mode(text, guest if colons else host)
        return _rule(text, host, guest if colons else None, mode, expand=True)
    if not isinstance(given, tuple):
        return _rule(text, _path(given), None, "")
    if len(given) != 2:
        raise UsageError(f"a directory is a path and where it is seen, not {given!r}")
    host, where = map(_path, given)
    guest, mode = _moded(where)
    if not mode:
        _check_no_mode(text, guest)
    return _rule(text, host, guest, mode)


def _path(given: object) -> str:
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(path, str):
        raise UsageError(f"a directory is a text or a path, not {given!r}")
    return path


def _rule(text: str, host: str, guest: str | None, mode: str, *, expand: bool = False) -> str:
    """The rule for a host's path; `expand`: whether `~` is a home in it, as for a shell."""
    if not host or guest == "":
        raise UsageError(f'directory {text!r}: write HOST::GUEST, for example "./data::/data:ro"')
    known = os.path.expanduser(host) if expand else host
    place = _place_of_host(text, host) if guest is None else _place(guest)
    path = os.path.abspath(known)
    if ".." in host.split(os.sep):  # `link/..` is not where it seems to be
        path = os.path.realpath(known)
    key, usual = ("archive", "ro") if os.path.isfile(path) else ("dir", "rw")
    if key == "archive" and mode == "rw":
        raise UsageError(
            f'directory {text!r}: a file is an archive, which stays as it is; write ":ro", or '
            '":overlay" to have what is changed in memory'
        )
    return f'fs({key}={quoted(path)}, at={quoted(place)}, mode="{mode or usual}")'


def _place(guest: str) -> str:
    """Where a program sees it: there is no other beginning than the root. C libraries take `data`,
    `./data` and `/data` for one name of a directory, and `.` for `/`."""
    return "/" + "/".join(name for name in guest.split("/") if name not in ("", "."))


def _place_of_host(text: str, host: str) -> str:
    guest = os.path.normpath(host)
    if guest.startswith("~") or ".." in host.split(os.sep):  # its name says nothing of where it is
        raise UsageError(
            f"directory {text!r}: say where the program sees it, "
            f'for example "{host}::/{os.path.basename(guest).strip(".") or "data"}"'
        )
    return _place(guest)


def _moded(text: str) -> tuple[str, str]:
    """What stands before the mode, and the mode; "" if none is said."""
    where, colon, mode = text.rpartition(":")
    return (where, mode) if colon and mode in MODES else (text, "")


def _check_no_mode(text: str, path: str) -> None:
    before, colon, word = path.rpartition(":")
    if not colon:
        return
    said = f"directory {text!r}: {word!r} is no mode"
    if word.startswith("/") and before:
        raise UsageError(f'{said}; write HOST::GUEST, for example "{before}::{word}"')
    modes = '":ro", ":rw" or ":overlay"'
    raise UsageError(f'{said}; write {modes}, or, if it is in the path, "{text}:rw"')


def listening(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The rules for ports as in `8080:80`, and what is left for a port map: two places for one
    port of the guest's are more than a rule can say. Raises UsageError."""
    from wasmos.servers.tcpip import PortMap

    ports = PortMap(texts)
    rules, mapped = [], []
    for text in texts:
        host, _, guest = text.rpartition(":")
        if len(ports.choices(int(guest))) > 1:
            mapped.append(text)
            rules.append(f"tcpip.listen(listen_port={int(guest)})")
        else:
            bind = host if ":" in host else f"127.0.0.1:{host}"
            rules.append(f"tcpip.listen(bind={quoted(bind)}, listen_port={int(guest)})")
    return list(dict.fromkeys(rules)), mapped


def host_port(guest: int) -> int:
    """A port of the host's, to be had without privileges, for one of the guest's."""
    return guest if guest > 1023 else 8000 + guest


def connecting(text: str) -> list[str]:
    """The rules for a destination as in `example.com:443`. Raises UsageError."""
    _check_form(text)
    where, colon, digits = text.partition(":")
    port = _port(text, digits) if colon else ""
    if where in WORDS:
        return _anywhere(text, where, port)
    if where.replace(".", "").replace("/", "").isdigit():
        _check_network(text, where)
        return [_connect(f'dst_addr="{where}"', port)]
    if where == "localhost":
        raise UsageError(f"destination {text!r}: that is this host; write 127.0.0.1{colon}{digits}")
    if "." not in where.strip("."):
        hint = nearest(where, WORDS)
        hint = hint if hint.startswith("did") else 'a name has a dot in it; or write "any" or "all"'
        raise UsageError(f"no destination {text!r}; {hint}")
    _check_name(text, where)
    name = quoted(where)
    rules = [f"tcpip.dns_resolve(hostname={name})", _connect(f"host={name}", port)]
    for rule in rules:
        Rule.parse(rule)
    return rules


def _anywhere(text: str, where: str, port: str) -> list[str]:
    if where == "any":
        return [_connect("", port), "tcpip.dns_resolve"]
    if port:
        raise UsageError(
            f"destination {text!r}: {where!r} stands without a port; with one there are "
            f'"any:{port}" and "0.0.0.0/0:{port}"'
        )
    return [_connect('dst_addr="all"', ""), "tcpip.dns_resolve"] if where == "all" else []


def _connect(where: str, port: str) -> str:
    items = ", ".join(filter(None, (where, port and f"dst_port={port}")))
    return f"tcpip.connect({items})" if items else "tcpip.connect"


def _port(text: str, digits: str) -> str:
    from wasmos.servers.tcpip.addresses import port_of

    return str(port_of(text, digits))


def _check_form(text: str) -> None:
    """Not what people write elsewhere."""
    if "://" in text:
        raise UsageError(f"destination {text!r} is a URL; write {_authority(text)}")
    if text.startswith("[") or text.count(":") > 1:
        raise UsageError(
            f"destination {text!r} is no IPv4 address or name; tcpip connects over IPv4"
        )


def _authority(url: str) -> str:
    """HOST:PORT of a URL."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "HOST:PORT"
    if not host or ":" in host:
        return "HOST:PORT"
    return f"{host}:{port or {'http': 80, 'https': 443}.get(parts.scheme, 'PORT')}"


def _check_name(text: str, where: str) -> None:
    from wasmos.servers.tcpip.names import impossible

    if why := impossible(where):
        raise UsageError(f"destination {text!r}: {where!r} can't be a name: {why}")


def _check_network(text: str, where: str) -> None:
    try:
        Rule.parse(_connect(f'dst_addr="{where}"', ""))
    except RuleError as error:
        why = str(error).rpartition("dst_addr: ")[2]
        if "did you mean" in why:
            raise UsageError(f"destination {text!r}: {why}") from None
        raise UsageError(
            f'destination {text!r}: write a name, "any", an IPv4 address, or a network such as '
            '"10.1.0.0/16", each with or without ":PORT"'
        ) from None


def variable(text: str) -> tuple[str, str | None, str]:
    """Name, value (None: the host's) and rule of `NAME[=VALUE]`. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not name or "*" in name or not name.isprintable():
        raise UsageError(f"variable {text!r}: write NAME or NAME=VALUE")
    return name, value if equals else None, f"env.get(name={quoted(name)})"
