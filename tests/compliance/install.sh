#!/bin/sh
# Put wstest, the conformance suite of the Autobahn project, into DEST/bin.
#
#   tests/compliance/install.sh DEST
#
# The suite is Python 2 only. DEST becomes a virtual environment of a CPython 2.7, which is looked
# for in $PY27, as python2.7 on PATH and below ~/.pyenv/versions; packages come from PyPI. A second
# run with the same DEST does nothing; one that was interrupted is taken up again.
set -eu

dest=${1:?usage: install.sh DEST}
pins=$(cd "$(dirname "$0")" && pwd)/requirements-py27.txt

# A pyenv shim is called python2.7 whether or not there is one behind it: only running it tells.
is_py27() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c '
import platform, sys
sys.exit(platform.python_implementation() != "CPython" or sys.version_info[:2] != (2, 7))
' >/dev/null 2>&1
}

find_py27() {
    if [ -n "${PY27:-}" ]; then
        is_py27 "$PY27" || { echo "PY27=$PY27 is not a CPython 2.7" >&2; return 1; }
        echo "$PY27"
        return
    fi
    for candidate in python2.7 "${HOME:-}"/.pyenv/versions/2.7.*/bin/python; do
        if is_py27 "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "wstest needs CPython 2.7, and there is none: set PY27, put python2.7 on PATH," >&2
    echo "or install one by pyenv (pyenv install 2.7.18)." >&2
    return 1
}

# The last thing that is written: what is there in full is left alone.
stamp=$dest/wstest.installed
if [ -x "$dest/bin/wstest" ] && cmp -s "$pins" "$stamp"; then
    exit 0
fi

python=$(find_py27)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# virtualenv 16 is one file that 2.7 itself can run, with its wheels beside it.
python3 -m pip download -q --disable-pip-version-check --no-deps -d "$work" virtualenv==16.7.12
python3 -m zipfile -e "$work"/virtualenv-16.7.12-*.whl "$work/virtualenv"
"$python" "$work/virtualenv/virtualenv.py" -q --no-download "$dest"
"$dest/bin/python" -m pip install -q --disable-pip-version-check -c "$pins" \
    pip==20.3.4 setuptools==44.1.1 wheel==0.37.1 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
"$dest/bin/python" -m pip install -q --disable-pip-version-check -c "$pins" autobahntestsuite \
    2>"$work/log" || { cat "$work/log" >&2; exit 1; }
"$dest/bin/wstest" --autobahnversion >/dev/null
cp "$pins" "$stamp"
