#!/bin/sh
# What does this machine need before `make run` and `make test` work, and how is it got?
#
#   doctor.sh            report on everything; exit 1 if something required is missing
#   doctor.sh --quiet    the same, but say nothing about what is there
#   doctor.sh --python   print the Python interpreter to use, or nothing if there is none
#
# PYTHON names an interpreter to use instead of looking for one, CC a compiler. Plain POSIX sh:
# it has to run where everything else is missing.

min_version="3.11"
min_free_mib=1024 # .venv with the compilers of the guests takes most of it

# --- Looking for an interpreter --------------------------------------------------------------

# Runs at all (a shim for a version that isn't active doesn't), and is new enough.
new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 </dev/null
}

# Has what an extension is compiled with. Distributions package it separately.
has_headers() {
    "$1" - >/dev/null 2>&1 <<'PY'
import os, sys, sysconfig, venv, ensurepip
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PY
}

# The newest interpreter that is complete; failing that, the newest that could be completed.
find_python() {
    if [ -n "$PYTHON" ]; then
        echo "$PYTHON"
        return
    fi
    incomplete=
    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
        new_enough "$candidate" || continue
        if has_headers "$candidate"; then
            echo "$candidate"
            return
        fi
        incomplete=${incomplete:-$candidate}
    done
    echo "$incomplete"
}

python=$(find_python)
if [ "$1" = "--python" ]; then
    echo "$python"
    exit 0
fi

# --- Reporting -------------------------------------------------------------------------------

quiet=
[ "$1" = "--quiet" ] && quiet=yes
missing=0

# Everything goes to stderr: the stdout of `make run` belongs to the program it runs.
good() { [ -n "$quiet" ] || printf '  ok       %s\n' "$1" >&2; }
note() { [ -n "$quiet" ] || printf '  note     %s\n' "$1" >&2; }
bad() {
    [ -z "$quiet" ] || [ "$missing" -gt 0 ] || echo "wasmos can't be built on this machine yet:" >&2
    missing=$((missing + 1))
    printf '  missing  %s\n' "$1" >&2
    [ -z "$2" ] || printf '           to get it:  %s\n' "$2" >&2
}

# Which family of systems is this? ID_LIKE lets a derivative count as what it derives from.
system() {
    if [ "$(uname -s)" = Darwin ]; then
        echo macos
        return
    fi
    ids=$(. /etc/os-release 2>/dev/null && echo " $ID $ID_LIKE ")
    case $ids in
    *" debian "* | *" ubuntu "*) echo debian ;;
    *" fedora "* | *" rhel "*) echo fedora ;;
    *" alpine "*) echo alpine ;;
    *) echo other ;;
    esac
}

# how NEED: the command that gets it here.
how() {
    case $(system):$1 in
    debian:python) echo "sudo apt install python3 python3-venv python3-dev" ;;
    debian:venv) echo "sudo apt install python$version-venv" ;;
    debian:headers) echo "sudo apt install python$version-dev" ;;
    debian:compiler) echo "sudo apt install gcc libc6-dev" ;;
    debian:make) echo "sudo apt install make" ;;
    fedora:python) echo "sudo dnf install python3 python3-devel" ;;
    fedora:venv) echo "sudo dnf install python3-pip" ;;
    fedora:headers) echo "sudo dnf install python3-devel" ;;
    fedora:compiler) echo "sudo dnf install gcc glibc-devel" ;;
    fedora:make) echo "sudo dnf install make" ;;
    alpine:python) echo "apk add python3 python3-dev" ;;
    alpine:venv) echo "apk add py3-pip" ;;
    alpine:headers) echo "apk add python3-dev" ;;
    alpine:compiler) echo "apk add gcc musl-dev" ;;
    alpine:make) echo "apk add make" ;;
    macos:compiler | macos:make) echo "xcode-select --install" ;;
    macos:*) echo "brew install python@3.13" ;;
    *:python | *:venv | *:headers) echo "install Python $min_version or later, with its development files" ;;
    *:compiler) echo "install a C compiler (gcc or clang) and the C library's headers" ;;
    *:make) echo "install GNU make" ;;
    esac
}

# --- The checks ------------------------------------------------------------------------------

# compiles CODE [FLAGS…]: does the compiler accept this program?
compiles() {
    code=$1
    shift
    printf '%s\n' "$code" | $compiler "$@" -x c -fsyntax-only - >/dev/null 2>&1
}

check_python() {
    if [ -z "$python" ]; then
        found=$(python3 --version 2>/dev/null)
        bad "Python $min_version or later (found: ${found:-none})" "$(how python)"
        return
    fi
    if ! new_enough "$python"; then
        bad "Python $min_version or later: PYTHON=$python is $("$python" --version 2>&1 | head -n 1)" "$(how python)"
        python=
        return
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    good "Python $version ($(command -v "$python"))"

    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        good "the venv module, and pip for it"
    else
        bad "the venv module, or pip for it" "$(how venv)"
    fi
}

check_compiler() {
    compiler=$CC
    if [ -z "$compiler" ] && [ -n "$python" ]; then
        # The one that Python itself was built with is the one setuptools will call.
        compiler=$("$python" -c 'import sysconfig; print((sysconfig.get_config_var("CC") or "cc").split()[0])')
    fi
    compiler=${compiler:-cc}
    if ! compiles 'int main(void) { return 0; }'; then
        bad "a C compiler ('$compiler' doesn't compile)" "$(how compiler)"
        if [ -z "$CC" ]; then
            for other in cc gcc clang; do
                if command -v "$other" >/dev/null 2>&1; then
                    printf '           or use:     CC=%s make\n' "$other" >&2
                    break
                fi
            done
        fi
        return
    fi
    if ! compiles '#include <stdio.h>'; then
        bad "the headers of the C library" "$(how compiler)"
        return
    fi
    good "a C compiler ($compiler)"

    [ -n "$python" ] || return
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    if compiles '#include <Python.h>' "-I$include"; then
        good "Python's headers ($include)"
    else
        bad "Python's headers (no usable Python.h in $include)" "$(how headers)"
    fi
}

check_make() {
    # Called by make, it is certainly there.
    if [ -n "$MAKELEVEL" ] || make --version 2>/dev/null | grep -q GNU; then
        good "GNU make"
    else
        bad "GNU make" "$(how make)"
    fi
}

check_disk() {
    free_kib=$(df -Pk . 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ -z "$free_kib" ]; then
        note "can't tell how much disk is free"
    elif [ "$free_kib" -lt $((min_free_mib * 1024)) ] && [ ! -d .venv ]; then
        bad "disk space: $((free_kib / 1024)) MiB free, $min_free_mib MiB needed" "free some, or move this folder"
    else
        good "$((free_kib / 1024)) MiB of disk"
    fi
}

# Optional: once installed, nothing here needs a network, and an index may be a local folder.
check_index() {
    [ -z "$quiet" ] || return
    [ -n "$python" ] || return
    if "$python" -m pip --disable-pip-version-check --timeout 5 --retries 0 download \
        --quiet --no-deps --dest "${TMPDIR:-/tmp}/wasmos-doctor.$$" click >/dev/null 2>&1 </dev/null; then
        good "pip reaches its package index"
    else
        note "pip doesn't reach its package index (needed for the first build only)"
    fi
    rm -rf "${TMPDIR:-/tmp}/wasmos-doctor.$$"
}

[ -n "$quiet" ] || echo "wasmos doctor" >&2
check_python
check_compiler
check_make
check_disk
check_index

if [ "$missing" -gt 0 ]; then
    echo "doctor: get what is missing, then run the command again" >&2
    exit 1
fi
[ -n "$quiet" ] || echo "doctor: everything required is here" >&2
