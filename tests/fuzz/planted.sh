#!/usr/bin/env bash
# tests/fuzz/planted.sh [TARGET...] - does the fuzzing find anything?  Each
# tests/fuzz/planted/TARGET.patch puts one plausible bug into a copy of the
# sources; the target has SECONDS_EACH (60) to find it.
#
# Where clang or libFuzzer is missing a line begins with SKIP; with
# REQUIRE_ALL=1 in the environment that is a failure.  PYTHON names the Python
# for the target "calls", which builds the extension.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${SECONDS_EACH:-60}
python=${PYTHON:-python3}
out=$PWD/build/planted
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    for patch in tests/fuzz/planted/*.patch; do
        patch=${patch##*/}
        targets+=("${patch%.patch}")
    done
fi

missed=()
for target in "${targets[@]}"; do
    copy=$out/$target
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -R csrc picows_c setup.py pyproject.toml README.md LICENSE tests "$copy"
    find "$copy/picows_c" -name '*.so' -delete
    patch -s -d "$copy" -p1 <"tests/fuzz/planted/$target.patch"
    begun=$SECONDS
    status=0
    if [ "$target" = calls ]; then
        (cd "$copy" && PICOWS_C_DEBUG=1 "$python" setup.py -q build_ext --inplace &&
            PYTHONPATH=. "$python" tests/fuzz/calls.py --seconds "$seconds") \
            >"$copy/log" 2>&1 || status=$?
    else
        "$copy/tests/fuzz/run.sh" "$seconds" "$target" >"$copy/log" 2>&1 || status=$?
    fi
    if grep '^SKIP' "$copy/log"; then
        [ "$status" -eq 0 ] || exit "$status"
    elif grep -q "^FAIL $target" "$copy/log"; then
        echo "FOUND $target: $((SECONDS - begun)) s, $(grep -m 1 -oE \
            '[a-z_0-9./]+:[0-9]+: .*|SUMMARY: .*|[a-z_./]+\.c:[0-9]+:.*Assertion.*|^WRONG: .*' "$copy/log")"
    else
        tail -n 20 "$copy/log"
        echo "MISSED $target: see $copy/log"
        missed+=("$target")
    fi
done
if [ "${#missed[@]}" -gt 0 ]; then
    echo "missed: ${missed[*]}"
    exit 1
fi
