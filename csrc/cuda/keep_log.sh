#!/bin/sh
# keep_log.sh LOG COMMAND...: run a compiler and keep what it says; only warnings and errors are shown. From the logs the tests
# read the registers and spills of each kernel (ptxas -v).
log=$1
shift
"$@" 2>"$log"
code=$?
if [ "$code" -ne 0 ]; then
    cat "$log" >&2
else
    grep -A 4 'warning' "$log" >&2
fi
exit "$code"
