#!/usr/bin/env bash
# tests/fuzz/run.sh [SECONDS] [TARGET...] - builds every tests/fuzz/fuzz_*.c
# with clang's libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer into
# build/fuzz and runs each for SECONDS (10 where nothing is said); or only the
# targets named ("parser utf8").
#
# What was found interesting stays in build/fuzz/corpus/TARGET, which begins
# with tests/fuzz/corpus/TARGET where there is one.  An input that fails is
# written to build/fuzz/TARGET-...; run build/fuzz/TARGET with it as argument.
#
# Where clang or libFuzzer is missing a line begins with SKIP; with
# REQUIRE_ALL=1 in the environment that is a failure.  CLANG and FUZZ_OPTIONS
# may be set.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=10
if [ $# -gt 0 ] && [ -z "${1//[0-9]/}" ]; then
    seconds=$1
    shift
fi
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        source=${source##*/fuzz_}
        targets+=("${source%.c}")
    done
fi

out=build/fuzz
core=(csrc/core/*.c)
flags=(-std=c11 -Wall -Wextra -Werror -g -O1 -fno-omit-frame-pointer
    -fno-sanitize-recover=undefined -Icsrc/core)
read -r -a options <<<"${FUZZ_OPTIONS:-}"

skip() { # TOOL
    echo "SKIP fuzz: $1 not found"
    if [ "${REQUIRE_ALL:-}" = 1 ]; then
        exit 1
    fi
    exit 0
}

clang=
for name in "${CLANG:-}" clang clang-{19..14}; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then
        clang=$name
        break
    fi
done
[ -n "$clang" ] || skip clang

mkdir -p "$out"
printf '%s\n' '#include <stddef.h>' \
    'int LLVMFuzzerTestOneInput(const void *p, size_t n);' \
    'int LLVMFuzzerTestOneInput(const void *p, size_t n) { return !p && n; }' \
    >"$out/probe.c"
"$clang" -fsanitize=fuzzer,address "$out/probe.c" -o "$out/probe" \
    >"$out/probe.log" 2>&1 || skip "libFuzzer of $clang"

# The core once, instrumented; each target links it.
rm -rf "$out/core"
mkdir -p "$out/core"
for source in "${core[@]}"; do
    "$clang" "${flags[@]}" -fsanitize=fuzzer-no-link,address,undefined \
        -c "$source" -o "$out/core/$(basename "$source" .c).o"
done

found=()
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true' EXIT
for target in "${targets[@]}"; do
    "$clang" "${flags[@]}" -fsanitize=fuzzer,address,undefined \
        "tests/fuzz/fuzz_$target.c" "$out"/core/*.o -o "$out/$target"
    corpus=$out/corpus/$target
    mkdir -p "$corpus"
    corpora=("$corpus")
    if [ -d "tests/fuzz/corpus/$target" ]; then
        corpora+=("tests/fuzz/corpus/$target")
    fi
    echo "---- $target, $seconds s"
    status=0
    "$out/$target" -max_total_time="$seconds" -max_len=20000 -timeout=20 \
        -artifact_prefix="$out/$target-" -print_final_stats=1 \
        ${options[@]+"${options[@]}"} "${corpora[@]}" \
        >"$out/$target.log" 2>&1 &
    pid=$!
    # Progress: the last line of the log, now and then.
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ $((SECONDS % 5)) -eq 0 ]; then
            grep -E '^#[0-9]+' "$out/$target.log" | tail -n 1 || true
        fi
    done
    wait "$pid" || status=$?
    pid=
    if [ "$status" -eq 0 ]; then
        inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log")
        cover=$(grep -oE 'cov: [0-9]+' "$out/$target.log" | tail -n 1)
        echo "PASS $target: $inputs inputs, $cover"
    else
        tail -n 40 "$out/$target.log"
        echo "FAIL $target: see $out/$target.log"
        found+=("$target")
    fi
done
if [ "${#found[@]}" -gt 0 ]; then
    echo "findings: ${found[*]}"
    exit 1
fi
