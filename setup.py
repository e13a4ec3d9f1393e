"""What pyproject.toml can't say: how the extension and the guest programs are compiled.

The law of this file: nothing is compiled that is up to date, and no command but `build` (which
`pip wheel` and `pip install`, editable or not, go through) compiles anything.

`WASMOS_ASAN=1` in the environment gives the debug flavour of the extension: AddressSanitizer,
line numbers, no inlining to speak of. `make asan` builds that one beside the normal one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from setuptools import Command, Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ASAN = os.environ.get("WASMOS_ASAN", "0") not in ("", "0")

# ---------------------------------------------------------------------------------------------
# The extension: the engine and the kernel, one translation unit.

CORE = Path("src/wasmos")

CYTHON_DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "nonecheck": False,
    "cdivision": True,
    "embedsignature": True,
}

FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address"] if ASAN else ["-O2"]

CORE_EXTENSION = Extension(
    "wasmos._core",
    sources=[str(CORE / "_core.pyx")],
    # `_core.pyx` includes these; a change in any of them is a change of the extension.
    depends=sorted(str(path) for path in CORE.rglob("*.px[id]")),
    extra_compile_args=[*FLAGS, "-Wno-unused-function", "-Wno-unreachable-code"],
    extra_link_args=["-fsanitize=address"] if ASAN else [],
)


class BuildExtension(build_ext):
    """Cython as part of `build_ext`, and nothing compiled twice."""

    def run(self) -> None:
        # An editable install brings temporary folders, where nothing is ever up to date.
        folders = self.build_lib, self.build_temp
        if self.inplace:
            self.build_lib, self.build_temp = "build/inplace", "build/inplace-temp"
        super().run()
        self.build_lib, self.build_temp = folders  # where setuptools looks for the outputs

    def build_extension(self, ext: Extension) -> None:
        # Not at the top: `sdist` and the metadata commands need no Cython.
        from Cython.Build import cythonize

        # Time stamps don't see a change of flags or directives, unless it changes a file.
        flavour = Path(self.build_temp) / "flavour"
        wanted = f"{ext.extra_compile_args}\n{CYTHON_DIRECTIVES}\n"
        changed = not flavour.exists() or flavour.read_text() != wanted
        if changed:
            flavour.parent.mkdir(parents=True, exist_ok=True)
            flavour.write_text(wanted)
        ext.depends.append(str(flavour))

        [cythonized] = cythonize(
            ext,
            build_dir=str(flavour.parent),
            compiler_directives=CYTHON_DIRECTIVES,
            force=self.force or changed,
            quiet=True,
        )
        ext.sources = cythonized.sources
        # C by now: Cython's own step in the base class finds nothing to do.
        super().build_extension(ext)


# ---------------------------------------------------------------------------------------------
# The guests: every C file is a program of its own, apart from the adapters of personalities.

GUESTS = Path("guests")
HOSTILE = GUESTS / "hostile"  # programs for the tests only, never part of a wheel
PACKAGED = Path("wasmos/guests")
ADAPTERS = Path("wasmos/personalities")

COMMON_FLAGS = [
    "-target", "wasm32-freestanding",
    "-std=c11", "-Wall", "-Wextra", "-Werror",
    "-nostdlib",
    # There is no C library: loops stay loops, and copies are the bulk memory instructions.
    "-fno-builtin", "-mbulk-memory",
    # Undefined behaviour is for the kernel to contain, so that the hostile guests stay hostile.
    "-fno-sanitize=all",
    "-Wl,--no-entry", "-Wl,--strip-all",
]  # fmt: skip
# Stack first, then data: an overflow of the stack leaves the memory and traps.
GUEST_FLAGS = [*COMMON_FLAGS, "-Os", "-Wl,-z,stack-size=32768"]
# An adapter is on the way of every call, and its memory comes on top of each task's own.
ADAPTER_FLAGS = [
    *COMMON_FLAGS, "-O2", "-Wl,-z,stack-size=8192",
    "-Wl,--initial-memory=196608", "-Wl,--max-memory=196608",
]  # fmt: skip


class Guest(NamedTuple):
    """A program to write, the C file it is made from, and how."""

    program: Path
    source: Path
    flags: list[str]


class BuildGuests(Command):
    """Compile the guest programs to WebAssembly.

    Into the wheel's `wasmos/guests/` and `wasmos/personalities/` or, for an editable install, into
    the same folders of `src/`; in that case the hostile ones are compiled too, into
    `build/guests/hostile/`.
    """

    description = "compile guests/*.c to WebAssembly"
    user_options = [
        ("build-lib=", None, "the folder that holds the package"),
        ("inplace", "i", "compile into the source tree, and the hostile guests too"),
        ("force", "f", "compile what is up to date, too"),
    ]
    boolean_options = ["inplace", "force"]

    def initialize_options(self) -> None:
        self.editable_mode = False  # set by setuptools
        self.build_lib: str | None = None
        self.inplace = False
        self.force = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"), ("force", "force"))

    def guests(self) -> list[Guest]:
        if not (self.editable_mode or self.inplace):
            return _packaged(Path(self.build_lib))
        return _packaged(Path("src")) + _programs(HOSTILE, "build" / HOSTILE)

    def run(self) -> None:
        # Which guest includes which header isn't tracked: a changed header makes all of them
        # stale, and so does a change of the flags above.
        common = max(path.stat().st_mtime_ns for path in [*GUESTS.rglob("*.h"), Path("setup.py")])
        stale = [
            guest
            for guest in self.guests()
            if self.force
            or not guest.program.exists()
            or guest.program.stat().st_mtime_ns < max(common, guest.source.stat().st_mtime_ns)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # `list` so that the first failure is raised here.
            list(pool.map(lambda guest: self.compile(*guest), stale))

    def compile(self, program: Path, source: Path, flags: list[str]) -> None:
        self.announce(f"compiling {source} -> {program}", level=2)
        program.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place when it is complete: an interrupted build leaves nothing half done.
        unfinished = program.with_suffix(".wasm.part")
        zig_cc = [sys.executable, "-m", "ziglang", "cc"]
        done = subprocess.run(
            [*zig_cc, *flags, "-I", str(GUESTS / "include"), "-o", unfinished, source],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CompileError(f"guest {source} doesn't compile:\n{done.stdout}")
        unfinished.replace(program)

    # What setuptools asks of a step of the build: what it reads, what it adds to the wheel, and
    # what stands for that in an editable install.

    def get_source_files(self) -> list[str]:
        return sorted(str(p) for p in GUESTS.rglob("*") if p.suffix in {".c", ".h", ".wat"})

    def get_outputs(self) -> list[str]:
        return [str(guest.program) for guest in _packaged(Path(self.build_lib))]

    def get_output_mapping(self) -> dict[str, str]:
        if not self.editable_mode:
            return {}
        in_place = [str(guest.program) for guest in _packaged(Path("src"))]
        return dict(zip(self.get_outputs(), in_place, strict=True))


def _packaged(root: Path) -> list[Guest]:
    """What belongs to the package that is in `root`."""
    return _programs(GUESTS, root / PACKAGED) + _adapters(root / ADAPTERS)


def _programs(sources: Path, folder: Path) -> list[Guest]:
    return [
        Guest(folder / f"{source.stem}.wasm", source, GUEST_FLAGS)
        for source in sorted(sources.glob("*.c"))
    ]


def _adapters(folder: Path) -> list[Guest]:
    """One source for two interfaces, which have most in common."""
    source = GUESTS / "personalities/wasi/wasi.c"
    return [
        Guest(folder / "wasi/preview1.wasm", source, ADAPTER_FLAGS),
        Guest(folder / "wasi/unstable.wasm", source, [*ADAPTER_FLAGS, "-DUNSTABLE"]),
    ]


class Build(build):
    sub_commands = [*build.sub_commands, ("build_guests", None)]


setup(
    ext_modules=[CORE_EXTENSION],
    cmdclass={"build": Build, "build_ext": BuildExtension, "build_guests": BuildGuests},
)
