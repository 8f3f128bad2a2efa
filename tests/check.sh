#!/usr/bin/env bash
# tests/check.sh [CHECKER...] - static analysis of csrc; every finding fails.
#
#   analyzer   gcc -fanalyzer
#   tidy       clang-tidy, as .clang-tidy says
#   cppcheck   cppcheck: warnings, performance, portability
#   windows    everything compiled for 64-bit Windows by MinGW-w64, with
#              CPython's headers; what it calls is there
#
# A checker that is missing prints a line that begins with SKIP; with
# REQUIRE_ALL=1 in the environment that is a failure.  CC, CLANG_TIDY and
# PYTHON (whose headers are taken) and MINGW may be set.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
gcc=${CC:-gcc}
tidy=${CLANG_TIDY:-clang-tidy}
mingw=${MINGW:-x86_64-w64-mingw32}
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

verdict() { # CHECKER STATUS [FILES]
    if [ "$2" -eq 0 ]; then
        echo "PASS $1: ${3:-${#sources[@]}} files"
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

check_windows() {
    local status=0 dir=$out/windows.d all=(csrc/*/*.c)
    have "$mingw-gcc" windows || return 0
    rm -rf "$dir"
    mkdir -p "$dir"
    # The same folder: CPython's headers look for pyconfig.h beside themselves.
    cp -R "$headers" "$dir/include"
    cp tests/windows/pyconfig.h "$dir/include/"
    : >"$out/windows"
    for source in "${all[@]}"; do
        # (-Warray-bounds: MinGW's own __readgsqword(), which CPython calls.)
        "$mingw-gcc" -std=c11 -O2 -Wall -Wextra -Werror -Wno-array-bounds -DNDEBUG \
            "${include[@]}" -isystem "$dir/include" -c "$source" \
            -o "$dir/$(basename "$source").o" >>"$out/windows" 2>&1 || status=1
    done
    if [ "$status" -eq 0 ]; then
        # Linked as an extension is, but for the interpreter: its names are listed, and are all there.
        "$mingw-gcc" -shared -o "$dir/_core.dll" "$dir"/*.o -lbcrypt 2>&1 |
            sed -n 's/.*undefined reference to [^[:alnum:]_]*\([[:alnum:]_]*\).*/\1/p' | sort -u |
            grep -vE '^(__imp_)?_?Py' >>"$out/windows" && status=1
    fi
    verdict windows "$status" "${#all[@]}"
}

[ $# -gt 0 ] || set -- analyzer tidy cppcheck windows
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
