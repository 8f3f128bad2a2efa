"""Which lines of csrc/core the inputs of tests/fuzz/corpus run: a table, and a least share.

python tests/fuzz/coverage.py [--least 95] [--corpus DIR] [--missing]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUZZ = ROOT / "tests" / "fuzz"
OUT = ROOT / "build" / "fuzz-coverage"
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O0", "--coverage"]
FLAGS += [f"-I{ROOT / 'csrc' / 'core'}", f"-I{FUZZ}"]


def compiled(compiler: str, source: Path) -> Path:
    made = OUT / f"{source.stem}.o"
    subprocess.run([compiler, *FLAGS, "-c", str(source), "-o", str(made)], check=True)
    return made


def lines_of(gcov: str, counts: Path) -> dict[str, dict[int, int]]:
    """Count each line of each file that this object was made of."""
    command = [gcov, "--json-format", "--stdout", str(counts)]
    answer = subprocess.run(command, check=True, capture_output=True, cwd=OUT)
    found: dict[str, dict[int, int]] = {}
    for text in answer.stdout.splitlines():
        for file in json.loads(text)["files"]:
            path = os.path.relpath(os.path.join(OUT, file["file"]), ROOT)
            lines = found.setdefault(path, {})
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] = lines.get(number, 0) + line["count"]
    return found


def measure(compiler: str, gcov: str, corpus: Path) -> dict[str, dict[int, int]]:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    core = [compiled(compiler, path) for path in sorted((ROOT / "csrc/core").glob("*.c"))]
    replay = compiled(compiler, FUZZ / "replay.c")
    for source in sorted(FUZZ.glob("fuzz_*.c")):
        name = source.stem[len("fuzz_") :]
        program = OUT / name
        objects = [compiled(compiler, source), replay, *core]
        subprocess.run([compiler, "--coverage", *map(str, objects), "-o", str(program)], check=True)
        inputs = sorted(map(str, (corpus / name).glob("*")))
        print(f"{name}: {len(inputs)} inputs", flush=True)
        subprocess.run([str(program), *inputs], check=True)
    total: dict[str, dict[int, int]] = {}
    for made in core:
        counts = made.with_suffix(".gcda")
        if not counts.exists():  # nothing of it is for this processor
            continue
        for path, lines in lines_of(gcov, counts).items():
            if path.startswith("csrc/core/"):
                into = total.setdefault(path, {})
                for number, count in lines.items():
                    into[number] = into.get(number, 0) + count
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--least", type=float, default=95.0, help="percent of all lines")
    parser.add_argument("--corpus", type=Path, default=FUZZ / "corpus")
    parser.add_argument("--missing", action="store_true", help="name the lines that never ran")
    args = parser.parse_args()
    compiler, gcov = os.environ.get("CC", "gcc"), os.environ.get("GCOV", "gcov")
    for tool in (compiler, gcov):
        if shutil.which(tool) is None:
            print(f"SKIP coverage: {tool} not found")
            sys.exit(os.environ.get("REQUIRE_ALL") == "1")
    files = measure(compiler, gcov, args.corpus)
    ran = every = 0
    print(f"\n{'file':34}{'lines':>7}{'run':>7}{'%':>8}")
    for path, lines in sorted(files.items()):
        here = sum(1 for count in lines.values() if count)
        ran, every = ran + here, every + len(lines)
        print(f"{path:34}{len(lines):>7}{here:>7}{100 * here / len(lines):>8.1f}")
        if args.missing and here < len(lines):
            print("    never run:", *(n for n, count in sorted(lines.items()) if not count))
    share = 100 * ran / every
    print(f"{'all':34}{every:>7}{ran:>7}{share:>8.1f}")
    if share < args.least:
        sys.exit(f"less than {args.least:g} % of the lines")


if __name__ == "__main__":
    main()
