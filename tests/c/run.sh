#!/usr/bin/env bash
# tests/c/run.sh [TARGET...] - builds the C tests and runs them.
#
#   native    gcc, AddressSanitizer, UndefinedBehaviorSanitizer, LeakSanitizer
#   release   gcc -O3 -DNDEBUG: the optimiser and no assertions
#   clang     as native, with clang
#   valgrind  memcheck: reads of what was never written
#   atomic    as native, with the references of free-threaded builds
#   tsan      the same references under ThreadSanitizer (suite "block")
#   aarch64   another processor, through qemu: NEON
#   s390x     another one: big-endian
#   fuzz      the fuzz targets on their corpora (tests/fuzz/run.sh replay)
#   all       all of these (the default)
#
# A target whose tool is missing prints a line that begins with SKIP; with
# REQUIRE_ALL=1 in the environment that is a failure.  Where everything is slow
# (valgrind, qemu), CHECK_QUICK=1 tells the tests to do less.
# CC, CLANG, JOBS and SUITES ("ring parser") may be set.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
gcc=${CC:-gcc}
common=(-std=c11 -Wall -Wextra -Werror -Wpedantic -pthread
    -Icsrc/core -Icsrc/platform -Itests/c)
sanitize=(-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined
    -fno-sanitize-recover=undefined)
sources=(csrc/core/*.c csrc/platform/entropy*.c csrc/platform/poll_*.c
    csrc/platform/sockio_*.c tests/c/*.c)
read -r -a suites <<<"${SUITES:-}"

skipped=()
failed=()

have() {
    command -v "$1" >/dev/null 2>&1
}

# first_of NAME... prints the first command that exists.
first_of() {
    local name
    for name in "$@"; do
        if [ -n "$name" ] && have "$name"; then
            printf '%s\n' "$name"
            return 0
        fi
    done
    return 1
}

skip() { # TARGET TOOL
    echo "SKIP $1: $2 not found"
    skipped+=("$1")
}

# compile_one DIRECTORY SOURCE COMPILER...
compile_one() {
    local dir=$1 source=$2
    shift 2
    "$@" -c "$source" -o "$dir/$(basename "$source" .c).o"
}
export -f compile_one

# compile DIRECTORY COMPILER... builds DIRECTORY/tests, several objects at once.
compile() {
    local dir=$1
    shift
    rm -rf "$dir"
    mkdir -p "$dir"
    # shellcheck disable=SC2016  # the inner shell expands it
    printf '%s\0' "${sources[@]}" |
        xargs -0 -P "$jobs" -I '{}' \
            bash -c 'compile_one "$@"' _ "$dir" '{}' "$@" &&
        "$@" "$dir"/*.o -o "$dir/tests"
}

# run TARGET COMPILER... -- COMMAND... compiles and runs COMMAND TESTS, keeps
# the output in a log, and prints the verdict.
run() {
    local target=$1 dir=build/ctest/$1 compiler=() begun built ended log
    shift
    while [ "$1" != -- ]; do
        compiler+=("$1")
        shift
    done
    shift
    log=$dir/log
    mkdir -p "$dir"
    begun=$SECONDS
    if ! compile "$dir" "${compiler[@]}" >"$dir.build" 2>&1; then
        cat "$dir.build"
        echo "FAIL $target: does not build"
        failed+=("$target")
        return 0
    fi
    built=$SECONDS
    if "$@" "$dir/tests" ${suites[@]+"${suites[@]}"} >"$log" 2>&1; then
        ended=$SECONDS
        echo "PASS $target: $(tail -n 1 "$log") (build $((built - begun)) s, run $((ended - built)) s)"
    else
        tail -n 60 "$log"
        echo "FAIL $target: see $log"
        failed+=("$target")
    fi
}

target_native() {
    have "$gcc" || { skip native "$gcc"; return 0; }
    run native "$gcc" "${common[@]}" "${sanitize[@]}" -- env
}

target_release() {
    have "$gcc" || { skip release "$gcc"; return 0; }
    run release "$gcc" "${common[@]}" -O3 -DNDEBUG -- env
}

target_clang() {
    local clang
    clang=$(first_of "${CLANG:-}" clang clang-{19..14}) ||
        { skip clang clang; return 0; }
    run clang "$clang" "${common[@]}" "${sanitize[@]}" -- env
}

target_valgrind() {
    have "$gcc" || { skip valgrind "$gcc"; return 0; }
    have valgrind || { skip valgrind valgrind; return 0; }
    run valgrind "$gcc" "${common[@]}" -g -O1 -- \
        env CHECK_QUICK=1 valgrind -q --error-exitcode=99 --leak-check=full \
        --errors-for-leak-kinds=all --child-silent-after-fork=yes
}

target_atomic() {
    have "$gcc" || { skip atomic "$gcc"; return 0; }
    run atomic "$gcc" "${common[@]}" "${sanitize[@]}" -DWS_ATOMIC_REFS=1 -- env
}

target_tsan() {
    have "$gcc" || { skip tsan "$gcc"; return 0; }
    local suites=(block)
    local options="halt_on_error=1 ${TSAN_OPTIONS:-}" atomic
    # With a GIL, and without: spare blocks go from thread to thread in both.
    for atomic in 0 1; do
        run "tsan-$atomic" "$gcc" "${common[@]}" -g -O1 -fsanitize=thread \
            "-DWS_ATOMIC_REFS=$atomic" -- env TSAN_OPTIONS="$options"
    done
}

# cross TARGET PROCESSOR: no sanitizers, which need more than qemu's user mode.
cross() {
    local cc=$2-linux-gnu-gcc qemu
    have "$cc" || { skip "$1" "$cc"; return 0; }
    qemu=$(first_of "qemu-$2" "qemu-$2-static") ||
        { skip "$1" "qemu-$2"; return 0; }
    run "$1" "$cc" "${common[@]}" -g -O2 -static -- env CHECK_QUICK=1 "$qemu"
}

target_aarch64() {
    cross aarch64 aarch64
}

target_s390x() {
    cross s390x s390x
}

target_fuzz() {
    local log=build/ctest/fuzz.log
    mkdir -p build/ctest
    if tests/fuzz/run.sh replay >"$log" 2>&1; then
        grep -E '^SKIP' "$log" && skipped+=(fuzz) && return 0
        echo "PASS fuzz: $(grep -c '^PASS' "$log") targets"
    else
        tail -n 60 "$log"
        echo "FAIL fuzz: see $log"
        failed+=(fuzz)
    fi
}

all=(native release clang valgrind atomic tsan aarch64 s390x fuzz)
[ $# -gt 0 ] || set -- all
for target in "$@"; do
    case " ${all[*]} all " in
    *" $target "*) ;;
    *)
        echo "unknown target $target; one of: ${all[*]} all" >&2
        exit 2
        ;;
    esac
done
for target in "$@"; do
    if [ "$target" = all ]; then
        for each in "${all[@]}"; do
            "target_$each"
        done
    else
        "target_$target"
    fi
done

if [ "${#skipped[@]}" -gt 0 ] && [ "${REQUIRE_ALL:-}" = 1 ]; then
    echo "REQUIRE_ALL=1 and skipped: ${skipped[*]}"
    exit 1
fi
if [ "${#failed[@]}" -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
