#!/usr/bin/env bash
# tests/check.sh [CHECKER...] - static analysis of csrc; every finding fails.
#
#   analyzer   gcc -fanalyzer
#   tidy       clang-tidy, as .clang-tidy says
#   cppcheck   cppcheck: warnings, performance, portability
#
# A checker that is missing prints a line that begins with SKIP; with
# REQUIRE_ALL=1 in the environment that is a failure.  CC, CLANG_TIDY and
# PYTHON (whose headers are taken) may be set.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
gcc=${CC:-gcc}
tidy=${CLANG_TIDY:-clang-tidy}
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
include=(-Icsrc/core -Icsrc/platform -Icsrc/ext -Ipicows_c/include)
sources=()
for source in csrc/*/*.c; do
    case $source in
    *_win.c | *_kqueue.c | *_neon.c) ;; # not for this system
    *) sources+=("$source") ;;
    esac
done
out=build/check
mkdir -p "$out"
failed=()
skipped=()

have() { # TOOL CHECKER
    command -v "$1" >/dev/null 2>&1 && return 0
    echo "SKIP $2: $1 not found"
    skipped+=("$2")
    return 1
}

verdict() { # CHECKER STATUS
    if [ "$2" -eq 0 ]; then
        echo "PASS $1: ${#sources[@]} files"
    else
        cat "$out/$1"
        echo "FAIL $1"
        failed+=("$1")
    fi
}

check_analyzer() {
    local status=0
    have "$gcc" analyzer || return 0
    : >"$out/analyzer"
    for source in "${sources[@]}"; do
        "$gcc" -std=c11 -O1 -Wall -Wextra -Werror -fanalyzer "${include[@]}" \
            -isystem "$headers" -c "$source" -o /dev/null >>"$out/analyzer" 2>&1 ||
            status=1
    done
    verdict analyzer "$status"
}

check_tidy() {
    local status=0
    have "$tidy" tidy || return 0
    "$tidy" --quiet "${sources[@]}" -- -std=c11 "${include[@]}" \
        -isystem "$headers" >"$out/tidy" 2>&1 || status=1
    verdict tidy "$status"
}

check_cppcheck() {
    local status=0
    have cppcheck cppcheck || return 0
    cppcheck -q --std=c11 --enable=warning,performance,portability \
        --error-exitcode=1 --suppress=missingIncludeSystem "${include[@]}" \
        "${sources[@]}" >"$out/cppcheck" 2>&1 || status=1
    verdict cppcheck "$status"
}

[ $# -gt 0 ] || set -- analyzer tidy cppcheck
for checker in "$@"; do
    "check_$checker"
done
if [ "${#skipped[@]}" -gt 0 ] && [ "${REQUIRE_ALL:-}" = 1 ]; then
    echo "REQUIRE_ALL=1 and skipped: ${skipped[*]}"
    exit 1
fi
if [ "${#failed[@]}" -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
