#!/bin/sh
# step.sh MESSAGE COMMAND…: one line on stderr, and silence if the command succeeds.
#
# stdout is left to the program that `make run` starts, and so is stdin: nothing that is built on
# the way may eat it.

message=$1
shift
echo "wasmos: $message" >&2

log=$(mktemp "${TMPDIR:-/tmp}/wasmos-step.XXXXXX") || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$@" >"$log" 2>&1 </dev/null
status=$?
if [ "$status" -ne 0 ]; then
    cat "$log" >&2
    echo "wasmos: failed: $*" >&2
    echo "wasmos: 'make doctor' tells whether something is missing on this machine" >&2
fi
exit "$status"
