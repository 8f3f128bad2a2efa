"""Instructions for each operation of two revisions, counted by callgrind.

    python bench/instructions.py REV_A REV_B [--limit 2] [PATH ...]

Each revision is taken from git ("." is the working tree) into a temporary directory, built there as
a release, and runs each way of bench/paths.py, this one's, under valgrind: COUNT times, and twice
that; the difference is without start and end. Instructions do not depend on what else the machine
does, so that a change of a percent shows. Exits with 1 where a way of REV_B takes more than
``--limit`` percent more than that of REV_A.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from callgrind import counted, under_callgrind
from paths import PATHS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCES = ["csrc", "picows_c", "setup.py", "pyproject.toml", "README.md", "LICENSE"]
# How often each way is called, and then twice as often.
COUNTS = {"mask": 20, "unmask": 100}
COUNT = 10


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check_out(revision: str, folder: Path) -> None:
    """Put the sources of a revision into a folder."""
    if revision == ".":
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)
        return
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision], stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def build(revision: str, folder: Path) -> None:
    progress(f"{revision}: building")
    folder.mkdir()
    check_out(revision, folder)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PICOWS_C_")}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(
        command, cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{revision} does not build:\n{done.stderr}")


def instructions(folder: Path, name: str, count: int) -> tuple[int, int]:
    """Return what callgrind counts for a whole process, and the operations of each call."""
    out = folder / "callgrind.out"
    done = subprocess.run(
        under_callgrind(out, [sys.executable, str(HERE / "paths.py"), name, str(count)]),
        # (Hashes decide how dicts are walked.)
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return counted(out), int(done.stdout)


def for_each(revision: str, folder: Path, name: str) -> float:
    """Return the instructions for each operation of a way."""
    count = COUNTS.get(name, COUNT)
    progress(f"{revision}: {name}")
    once, per = instructions(folder, name, count)
    twice, _ = instructions(folder, name, 2 * count)
    return (twice - once) / (count * per)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rev_a")
    parser.add_argument("rev_b")
    parser.add_argument("paths", nargs="*", metavar="PATH", help=f"of {', '.join(PATHS)}; all")
    parser.add_argument("--limit", type=float, default=2.0, help="percent that are tolerated")
    args = parser.parse_args()
    names = args.paths or list(PATHS)
    unknown = set(names) - set(PATHS)
    if unknown:
        parser.error(f"no such path: {', '.join(sorted(unknown))}")
    if not shutil.which("valgrind"):
        parser.error("valgrind is needed")
    worse = []
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"a": Path(temporary) / "a", "b": Path(temporary) / "b"}
        build(args.rev_a, folders["a"])
        build(args.rev_b, folders["b"])
        print(f"{'instructions':14}{args.rev_a[:12]:>14}{args.rev_b[:12]:>14}{'change':>10}")
        for name in names:
            before = for_each(args.rev_a, folders["a"], name)
            after = for_each(args.rev_b, folders["b"], name)
            change = (after / before - 1) * 100
            print(f"{name:14}{before:>14,.1f}{after:>14,.1f}{change:>+9.1f}%", flush=True)
            if change > args.limit:
                worse.append(name)
    if worse:
        sys.exit(f"worse by more than {args.limit:g} %: {', '.join(worse)}")


if __name__ == "__main__":
    main()
