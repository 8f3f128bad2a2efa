#!/usr/bin/env bash
# tests/fuzz/run.sh [SECONDS | replay | merge] [TARGET...] - builds every
# tests/fuzz/fuzz_*.c, or only the targets named ("parser utf8"), with clang's
# libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer into build/fuzz.
#
#   SECONDS   runs each for so long (10 where nothing is said)
#   replay    runs each on the inputs of tests/fuzz/corpus/TARGET, and no other
#   merge     adds to tests/fuzz/corpus/TARGET what build/fuzz/corpus/TARGET
#             covers beyond it, in as few bytes as can be
#
# What was found interesting stays in build/fuzz/corpus/TARGET.  An input that
# fails is written to build/fuzz/TARGET-...; run build/fuzz/TARGET with it as
# argument.
#
# Where clang or libFuzzer is missing a line begins with SKIP; with
# REQUIRE_ALL=1 in the environment that is a failure.  CLANG and FUZZ_OPTIONS
# may be set.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mode=fuzz
seconds=10
case ${1:-} in
replay | merge)
    mode=$1
    shift
    ;;
[0-9]*)
    seconds=$1
    shift
    ;;
esac
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

# run_target TARGET ARGUMENT... runs it into its log, with progress: the last
# line of the log, now and then.
run_target() {
    local target=$1 status=0 shown=$SECONDS
    shift
    "$out/$target" -max_len=20000 -timeout=20 -artifact_prefix="$out/$target-" \
        ${options[@]+"${options[@]}"} "$@" >"$out/$target.log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        if [ $((SECONDS - shown)) -ge 5 ]; then
            shown=$SECONDS
            grep -E '^#[0-9]+' "$out/$target.log" | tail -n 1 || true
        fi
    done
    wait "$pid" || status=$?
    pid=
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$out/$target.log"
        echo "FAIL $target: see $out/$target.log"
        found+=("$target")
    fi
    return "$status"
}

for target in "${targets[@]}"; do
    "$clang" "${flags[@]}" -fsanitize=fuzzer,address,undefined \
        "tests/fuzz/fuzz_$target.c" "$out"/core/*.o -o "$out/$target"
    seeds=tests/fuzz/corpus/$target
    corpus=$out/corpus/$target
    mkdir -p "$corpus" "$seeds"
    case $mode in
    fuzz)
        echo "---- $target, $seconds s"
        run_target "$target" -max_total_time="$seconds" -print_final_stats=1 \
            "$corpus" "$seeds" || continue
        inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log")
        cover=$(grep -oE 'cov: [0-9]+' "$out/$target.log" | tail -n 1)
        echo "PASS $target: $inputs inputs, $cover"
        ;;
    replay)
        run_target "$target" -runs=0 "$seeds" || continue
        echo "PASS $target: $(find "$seeds" -type f | wc -l) inputs"
        ;;
    merge)
        rm -rf "$out/merged"
        mkdir -p "$out/merged"
        run_target "$target" -merge=1 -use_counters=0 "$out/merged" \
            "$seeds" "$corpus" || continue
        rm -rf "$seeds"
        mv "$out/merged" "$seeds"
        echo "PASS $target: $(find "$seeds" -type f | wc -l) inputs, $(
            find "$seeds" -type f -exec cat {} + | wc -c) bytes"
        ;;
    esac
done
if [ "${#found[@]}" -gt 0 ]; then
    echo "findings: ${found[*]}"
    exit 1
fi
