#!/bin/sh
# Print the first interpreter on PATH that can make the project's environments.
#
# Development needs Python 3.11 or 3.12 (pyrevm has no wheels for later ones) with venv and pip. Every
# entry of PATH is tried, and by running it: a version manager's shim may exist and refuse to start.
set -eu

usable='import sys, venv, ensurepip; sys.exit((3, 11) > sys.version_info[:2] or sys.version_info[:2] > (3, 12))'

try() {
    if [ -x "$1" ] && "$1" -c "$usable" >/dev/null 2>&1; then
        printf '%s\n' "$1"
        exit 0
    fi
}

for name in python3.11 python3.12 python3 python; do
    IFS=:
    for folder in $PATH; do
        try "$folder/$name"
    done
    unset IFS
done

printf '%s\n' >&2 \
    'No usable Python found: Usufruct needs Python 3.11 or 3.12 with venv and ensurepip.' \
    'Install one (Debian and Ubuntu: apt install python3.11 python3.11-venv), or name one:' \
    '    make PYTHON=/path/to/python3.12 setup'
exit 1
