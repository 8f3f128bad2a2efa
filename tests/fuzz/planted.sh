#!/usr/bin/env bash
# tests/fuzz/planted.sh [PATCH...] - does the fuzzing find anything?  Each
# tests/fuzz/planted/PATCH.patch puts one plausible bug into a copy of the
# sources; the target, which is the name up to a "_", has SECONDS_EACH (60) to
# find it.
#
# The target "calls" builds the extension under AddressSanitizer, for the Python
# that PYTHON names.  calls_a to calls_i put back the faults of memory that were
# there once: two threads with one spare block, a reader freed below its parse
# loop, TLS entered twice, TLS freed inside of its call, bytes committed past what
# was lent and room that was lent and filled by another (e, e_view), a borrowed
# descriptor, a loss told in a context that is entered, an SSLObject's methods
# bypassed and its buffer read past the end (h, h_shrink).  i has five: bytes taken
# from the parser (i), getters that any thread may call (i_getters), a transport
# that holds less than nothing (i_negative), a TLS layer below that was looked up
# before wrap() ran (i_below), a free slot that was looked up before the loop's
# add_reader() ran (i_watch).
#
# tests/test_fuzz.py fails where a patch no longer fits the sources.
#
# Where clang or libFuzzer is missing a line begins with SKIP; with
# REQUIRE_ALL=1 in the environment that is a failure.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${SECONDS_EACH:-60}
python=${PYTHON:-python3}
out=$PWD/build/planted
names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
    for patch in tests/fuzz/planted/*.patch; do
        patch=${patch##*/}
        names+=("${patch%.patch}")
    done
fi

# random_calls COPY builds COPY's extension and has it called.
random_calls() {
    cd "$1"
    PICOWS_C_SANITIZE=1 "$python" setup.py -q build_ext --inplace || return
    # What is freed is overwritten: OpenSSL, which is not instrumented, trips over it.
    PYTHONPATH=. PYTHONMALLOC=malloc \
        LD_PRELOAD="$("${CC:-cc}" -print-file-name=libasan.so) $("${CC:-cc}" -print-file-name=libubsan.so)" \
        ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:max_free_fill_size=4096:free_fill_byte=85 \
        UBSAN_OPTIONS=print_stacktrace=1 \
        "$python" tests/fuzz/calls.py --seconds "$seconds"
}

missed=()
for name in "${names[@]}"; do
    target=${name%%_*}
    copy=$out/$name
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -R csrc picows_c setup.py pyproject.toml README.md LICENSE tests "$copy"
    find "$copy/picows_c" -name '*.so' -delete
    patch -s -d "$copy" -p1 <"tests/fuzz/planted/$name.patch"
    begun=$SECONDS
    status=0
    if [ "$target" = calls ]; then
        (random_calls "$copy") >"$copy/log" 2>&1 || status=$?
    else
        "$copy/tests/fuzz/run.sh" "$seconds" "$target" >"$copy/log" 2>&1 || status=$?
    fi
    if grep '^SKIP' "$copy/log"; then
        [ "$status" -eq 0 ] || exit "$status"
    elif grep -q "^FAIL $target" "$copy/log"; then
        echo "FOUND $name: $((SECONDS - begun)) s, $(grep -m 1 -oE \
            '[a-z_0-9./]+:[0-9]+: .*|SUMMARY: .*|[a-z_./]+\.c:[0-9]+:.*Assertion.*|^WRONG: .*' "$copy/log")"
    else
        tail -n 20 "$copy/log"
        echo "MISSED $name: see $copy/log"
        missed+=("$name")
    fi
done
if [ "${#missed[@]}" -gt 0 ]; then
    echo "missed: ${missed[*]}"
    exit 1
fi
