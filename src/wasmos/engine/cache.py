"""Machine code that was compiled before, on disk.

Law: what comes out of here this user's wasmos put in, byte for byte, under the very same key; all
else is as if it weren't there. Three things see to that: the file and its directory are nobody
else's (`private.py`), its head carries a code that only who has the secret can make, and the head
has the digest of the rest. The cache is never a reason to fail: a full disk, a directory that
can't be written or isn't ours, or a damaged file only cost the time to compile.

A file is a head, an empty line, and the machine code. The head is text: a line that says what this
is, the authentication code, and a line for each fact. docs/decisions/0017 has the reasons.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from errno import ELOOP

from wasmos.engine import private

try:
    # What hashlib.blake2b is, without hashlib: that loads OpenSSL, which takes longer than the
    # start of a small program from here.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeAlias

    Facts: TypeAlias = Mapping[str, str]

FORMAT = "wasmos machine code 1"  # change the number when a file's meaning changes
VARIABLE, OFF = "WASMOS_CACHE_DIR", "WASMOS_NO_CACHE"
MAX_BYTES = 2 << 30  # of all files together; then those go that weren't used for longest
MAX_FILES = 10_000
_SECRET, _SECRET_BYTES = "cache", 32
_HEAD_BYTES = 4096
_ENDING = ".code"
_KEY_DIGITS = 64
# From here on OpenSSL's SHA-256, which uses the processor's instructions for it, is worth loading.
_LARGE = 8 << 20
_ABANDONED_SECONDS = 3600  # a file that is still being written after so long never will be


def digest(data: bytes | memoryview) -> str:
    """What identifies bytes: 64 hexadecimal digits. Which function it is their length decides."""
    if len(data) < _LARGE:
        return blake2b(data, digest_size=32).hexdigest()
    from hashlib import sha256

    return sha256(data).hexdigest()


def key(*parts: object) -> str:
    """A file's name, from all that the code in it depends on."""
    return digest("\0".join(repr(part) for part in (FORMAT, *parts)).encode())


class Entry:
    """A file of the cache: its `key`, the `facts` in its head, what it takes on disk, and when it
    was `used`, in seconds since 1970."""

    __slots__ = ("bytes", "facts", "key", "used")

    def __init__(self, key: str, facts: Facts, bytes: int, used: float) -> None:  # noqa: A002
        self.key = key
        self.facts = facts
        self.bytes = bytes
        self.used = used

    def __repr__(self) -> str:
        return f"<Entry {self.key[:12]} {self.facts.get('name', '')!r} {self.bytes:,} bytes>"


class Cache:
    """What is in `folder`. The secret is in another one: a cache that was restored from elsewhere
    comes without."""

    def __init__(self, folder: str, secret_folder: str) -> None:
        self.folder = folder
        self._secret_folder = secret_folder
        self._secret: bytes | None = None

    # --- use ---

    def find(self, key: str) -> Facts | None:
        """The facts of a file, if it is there and whole as far as that needs no reading of all."""
        found = self._read(key, lambda _facts: False)
        return None if found is None else found[0]

    def code(self, key: str, most: int) -> bytes | None:
        """The machine code, unless it is more than `most` bytes. What is damaged is removed."""
        found = self._read(key, lambda facts: int(facts["bytes"]) <= most)
        return None if found is None else found[1] or None

    def store(self, key: str, facts: Facts, code: bytes) -> None:
        """Keep machine code. `facts`: one word each, and a value on one line."""
        facts = {**facts, "bytes": str(len(code)), "digest": digest(code)}
        text = "".join(f"{word} {_one_line(value)}\n" for word, value in facts.items()).encode()
        with suppress(OSError), _opened(self.folder, make=True) as folder:
            self._load_secret(make=True)
            head = f"{FORMAT}\n{self._authentic(key, text)}\n".encode() + text + b"\n"
            if len(head) > _HEAD_BYTES:
                return
            private.replace(folder, key + _ENDING, (head, code))
            # Looking at all files takes its time when there are many: not for every small one.
            if key[0] == "0" or len(code) >= _LARGE:
                self.prune()

    def _read(self, key: str, wants_code: Callable[[Facts], bool]) -> tuple[Facts, bytes] | None:
        try:
            self._load_secret()
            with _opened(self.folder) as folder:
                try:
                    return self._read_in(folder, key, wants_code)
                except (private.NotPrivate, ValueError, KeyError):
                    _remove(folder, key + _ENDING)
                except OSError as error:
                    if error.errno == ELOOP:  # a symbolic link
                        _remove(folder, key + _ENDING)
        except OSError:
            pass
        return None

    def _read_in(
        self, folder: int, key: str, wants_code: Callable[[Facts], bool]
    ) -> tuple[Facts, bytes] | None:
        """Raises ValueError, KeyError, OSError for what isn't as it should be."""
        file, found = private.open_file(folder, key + _ENDING)
        try:
            head = os.read(file, _HEAD_BYTES)
            facts, start = self._facts(key, head)
            size = int(facts["bytes"])
            if found.st_size != start + size:
                raise ValueError("its length is not what it was")
            if not wants_code(facts):
                return facts, b""
            code = head[start:] if len(head) == start + size else _read_code(file, start, size)
            if digest(code) != facts["digest"]:
                raise ValueError("it is damaged")
            with suppress(OSError):
                os.utime(file)
            return facts, code
        finally:
            os.close(file)

    def _facts(self, key: str, head: bytes) -> tuple[Facts, int]:
        """What a head says, and its length."""
        title, code, rest = head.split(b"\n", 2)
        text, gap, _ = rest.partition(b"\n\n")
        text += b"\n"
        if title != FORMAT.encode() or not gap or not _same(code, self._authentic(key, text)):
            raise ValueError("not ours")
        return _parsed(text), len(title) + len(code) + len(text) + 3

    def _authentic(self, key: str, text: bytes) -> str:
        """The authentication code of a head: nobody else can make one, and it is for one key."""
        assert self._secret is not None
        return blake2b(key.encode() + b"\n" + text, key=self._secret, digest_size=32).hexdigest()

    def _load_secret(self, *, make: bool = False) -> None:
        """Raises OSError if there is none, and none shall be made or can be."""
        if self._secret is not None:
            return
        with _opened(self._secret_folder, make=make) as folder:
            secret = _small_file(folder, _SECRET)
            if make and len(secret) != _SECRET_BYTES:
                private.replace(folder, _SECRET, (os.urandom(_SECRET_BYTES),))
                # If two processes are here at once, one of them is the last.
                secret = _small_file(folder, _SECRET)
        if len(secret) != _SECRET_BYTES:
            raise FileNotFoundError("no secret")
        self._secret = secret

    # --- housekeeping ---

    def check(self) -> None:
        """Raises OSError if there is a directory, and it isn't used: it says why."""
        for path in (self.folder, self._secret_folder):
            with suppress(FileNotFoundError), _opened(path):
                pass

    def entries(self) -> list[Entry]:
        """All there is, what was used last first. What the heads say is shown, and not verified."""
        try:
            with _opened(self.folder) as folder:
                found = [entry for name in os.listdir(folder) if (entry := _entry(folder, name))]
        except OSError:
            return []
        return sorted(found, key=lambda entry: (-entry.used, entry.key))

    def prune(
        self, *, unused_seconds: float | None = None, max_bytes: int = MAX_BYTES
    ) -> list[Entry]:
        """Remove what was unused for so long, and then what was unused for longest, until the rest
        fits; what was removed."""
        now = time.time()
        removed, kept_bytes, kept_files = [], 0, 0
        for entry in self._sizes():
            kept_bytes += entry.bytes
            kept_files += 1
            old = unused_seconds is not None and now - entry.used > unused_seconds
            if old or kept_bytes > max_bytes or kept_files > MAX_FILES:
                kept_bytes -= entry.bytes
                kept_files -= 1
                removed.append(entry)
        return self._removed(removed, now)

    def clear(self) -> list[Entry]:
        """Remove everything; what that was."""
        return self._removed(self._sizes(), float("inf"))

    def _sizes(self) -> list[Entry]:
        """As `entries`, without looking into the files, and whatever they are."""
        found = []
        with suppress(OSError), _opened(self.folder) as folder:
            for name in os.listdir(folder):
                with suppress(OSError):
                    if _is_key(name):
                        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
                        entry = Entry(name[:_KEY_DIGITS], {}, about.st_size, about.st_mtime)
                        found.append(entry)
        return sorted(found, key=lambda entry: (-entry.used, entry.key))

    def _removed(self, entries: Iterable[Entry], now: float) -> list[Entry]:
        removed = []
        with suppress(OSError), _opened(self.folder) as folder:
            removed = [entry for entry in entries if _remove(folder, entry.key + _ENDING)]
            for name in os.listdir(folder):
                if name.endswith(private.NEW):
                    with suppress(OSError):
                        if (
                            now - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
                            > _ABANDONED_SECONDS
                        ):
                            _remove(folder, name)
        return removed


def user_cache(environment: Mapping[str, str] = os.environ) -> Cache | None:
    """The cache of this user, or None: WASMOS_NO_CACHE is set, or there is no place for it."""
    if environment.get(OFF, "").lower() not in ("", "0", "no", "off", "false"):
        return None
    folder = environment.get(VARIABLE, "")
    folder = os.path.abspath(folder) if folder else _xdg("XDG_CACHE_HOME", ".cache", environment)
    secret_folder = _xdg("XDG_STATE_HOME", ".local/state", environment)
    if not folder or not secret_folder:
        return None
    if not environment.get(VARIABLE):
        folder = os.path.join(folder, "wasmos")
    return Cache(folder, os.path.join(secret_folder, "wasmos", "secrets"))


def _xdg(variable: str, default: str, environment: Mapping[str, str]) -> str:
    """One of the user's directories, by the XDG specification; "" if there is none."""
    chosen = environment.get(variable, "")
    if os.path.isabs(chosen):
        return chosen
    home = environment.get("HOME") or os.path.expanduser("~")
    return os.path.join(home, default) if os.path.isabs(home) else ""


@contextmanager
def _opened(path: str, *, make: bool = False) -> Iterator[int]:
    folder = private.open_folder(path, make=make)
    try:
        yield folder
    finally:
        os.close(folder)


def _read_code(file: int, start: int, size: int) -> bytes:
    """Into memory of ours, where nobody changes it between being checked and being loaded."""
    os.lseek(file, start, os.SEEK_SET)
    code = os.read(file, size)
    while len(code) < size:
        part = os.read(file, size - len(code))
        if not part:
            raise ValueError("it ends too early")
        code += part
    return code


def _small_file(folder: int, name: str) -> bytes:
    """What it says; nothing if it isn't there, or not ours."""
    try:
        file, _ = private.open_file(folder, name)
    except OSError:
        return b""
    try:
        return os.read(file, _HEAD_BYTES)
    finally:
        os.close(file)


def _parsed(text: bytes) -> Facts:
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.partition(" ")[::2] for line in lines)


def _same(found: bytes, wanted: str) -> bool:
    from _operator import _compare_digest  # what hmac.compare_digest is, without OpenSSL

    return _compare_digest(found, wanted.encode())


def _one_line(value: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in value[:200])


def _is_key(name: str) -> bool:
    stem = name.removesuffix(_ENDING)
    return stem != name and len(stem) == _KEY_DIGITS and not stem.strip("0123456789abcdef")


def _entry(folder: int, name: str) -> Entry | None:
    if not _is_key(name):
        return None
    try:
        file, found = private.open_file(folder, name)
    except OSError:
        return None
    try:
        head = os.read(file, _HEAD_BYTES)
    finally:
        os.close(file)
    text = head.partition(b"\n\n")[0]
    facts = _parsed(text.split(b"\n", 2)[-1]) if text.startswith(FORMAT.encode()) else {}
    return Entry(name[:_KEY_DIGITS], facts, found.st_size, found.st_mtime)


def _remove(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return False
    return True
