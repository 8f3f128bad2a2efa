"""sdist -> wheel -> import and an echo, for each interpreter, from a bare virtual environment.

    python tests/wheel/check.py [--tests] dist/picows_c-*.tar.gz [PYTHON ...]

Each interpreter (this one by default) builds a wheel from the sdist, as pip does for a user whose
platform has none. The wheel's contents are compared with what a wheel has to have. It is then
installed into a new virtual environment that has nothing else, and echo.py runs there in an empty
folder. ``--tests`` also unpacks the sdist and runs its quick tests (tests/quick.txt) with that
wheel. Pip downloads what is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# What pip or Python would take from the outside: each step is to work without it.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"


class Failure(Exception):
    """Something is not as it has to be; the text says what."""


def run(*command: str | Path, cwd: Path, timeout: float = 1800) -> str:
    """Run a program. Returns what it prints; raises Failure with that where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise Failure(f"{shown}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def say(what: str, end: str = "\n") -> None:
    print(what, end=end, flush=True)


# ---- contents ----


def package_files() -> set[str]:
    """Name what a wheel has to hold besides the extension and its metadata."""
    package = ROOT / "picows_c"
    kinds = (".py", ".pyi", ".typed", ".pxd", ".h")
    return {
        f"picows_c/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.suffix in kinds or path.name == "py.typed"
    }


def check_wheel(wheel: Path, version: str) -> None:
    """Compare a wheel's contents with the package. Raises Failure."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"picows_c-{version}.dist-info/"
    metadata = {name for name in names if name.startswith(info)}
    extensions = {name for name in names - metadata if name.endswith((".so", ".pyd"))}
    if len(extensions) != 1 or not re.match(r"picows_c/_core\.", next(iter(extensions), "")):
        raise Failure(f"{wheel.name}: one extension expected, not {sorted(extensions)}")
    if not any(name.endswith("/LICENSE") for name in metadata):
        raise Failure(f"{wheel.name}: no LICENSE")
    missing = package_files() - names
    more = names - metadata - extensions - package_files()
    if missing or more:
        raise Failure(f"{wheel.name}: missing {sorted(missing)}, too many {sorted(more)}")


def tracked_files() -> set[str]:
    """Name what an sdist has to hold: what it takes to build and to test."""
    listed = run("git", "ls-files", cwd=ROOT).splitlines()
    outside = (".ci/", ".github/", ".gitignore", ".clang-format", ".pre-commit-config.yaml")
    return {name for name in listed if not name.startswith(outside)}


def check_sdist(sdist: Path, version: str) -> None:
    """Compare an sdist's contents with the repository, where this is one. Raises Failure."""
    with tarfile.open(sdist) as archive:
        top = f"picows_c-{version}/"
        names = {name[len(top) :] for name in archive.getnames() if name.startswith(top)}
    junk = [n for n in names if re.search(r"\.(so|pyd|pyc|o)$|node_modules|__pycache__", n)]
    if junk:
        raise Failure(f"{sdist.name}: holds {junk[:5]}")
    if not (ROOT / ".git").exists():
        return
    missing = {name for name in tracked_files() - names if (ROOT / name).exists()}
    if missing:
        raise Failure(f"{sdist.name}: missing {sorted(missing)}")


# ---- one interpreter ----


def new_venv(python: str, folder: Path) -> Path:
    """Make a virtual environment and return its interpreter."""
    run(python, "-m", "venv", folder, cwd=folder.parent)
    name = "python.exe" if sys.platform == "win32" else "python"
    return folder / SCRIPTS / name


def check_python(python: str, sdist: Path, version: str, tests: bool, work: Path) -> str:
    """Build, install and try the wheel with one interpreter. Returns a line that says so."""
    builder = new_venv(python, work / "builder")
    run(builder, *PIP, "wheel", "--no-deps", "-w", work / "wheels", sdist, cwd=work)
    (wheel,) = (work / "wheels").glob("*.whl")
    check_wheel(wheel, version)
    say("wheel, ", end="")

    bare = new_venv(python, work / "bare")
    run(bare, *PIP, "install", wheel, cwd=work)
    shutil.copy(HERE / "echo.py", work)
    empty = work / "empty"
    empty.mkdir()
    # -I: neither the current folder nor the environment says where packages come from.
    report = run(bare, "-I", work / "echo.py", version, cwd=empty, timeout=120).strip()
    run(bare, "-I", "-m", "picows_c", "--version", cwd=empty, timeout=120)
    say("echo", end="")

    if tests:
        with tarfile.open(sdist) as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(work, filter="data")
            else:
                archive.extractall(work)
        tree = work / f"picows_c-{version}"
        tester = new_venv(python, work / "tester")
        run(tester, *PIP, "install", "-U", "pip", cwd=work)
        groups = f"{tree / 'pyproject.toml'}:quick"
        run(tester, *PIP, "install", "--group", groups, cwd=work)
        try:
            more = ["--only-binary", ":all:", "--group", f"{groups}-more"]
            run(tester, *PIP, "install", *more, cwd=work)
        except Failure:
            say(", no wheels of trustme or uvloop", end="")
        run(tester, *PIP, "install", wheel, cwd=work)
        pytest = tester.with_name("pytest.exe" if sys.platform == "win32" else "pytest")
        out = run(pytest, "-q", "-p", "no:cacheprovider", "@tests/quick.txt", cwd=tree)
        say(f", {out.strip().splitlines()[-1]}", end="")
    say("")
    return f"{report}  {wheel.name}"


def main() -> int:
    """Check the sdist with each interpreter."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sdist", type=Path)
    parser.add_argument("python", nargs="*", default=[sys.executable])
    parser.add_argument("--tests", action="store_true", help="run the sdist's quick tests, too")
    options = parser.parse_args()
    sdist = options.sdist.resolve()
    version = sdist.name[len("picows_c-") : -len(".tar.gz")]

    lines: list[str] = []
    failed = 0
    try:
        check_sdist(sdist, version)
        say(f"{sdist.name}: complete")
    except Failure as failure:
        say(f"FAILED: {failure}")
        failed += 1
    for python in options.python:
        say(f"{python}: ", end="")
        with tempfile.TemporaryDirectory(prefix="picows_c-") as work:
            try:
                lines.append(
                    check_python(python, sdist, version, options.tests, Path(work).resolve())
                )
            except (Failure, OSError, subprocess.TimeoutExpired) as failure:
                say(f"FAILED: {failure}")
                failed += 1
    say("\n".join(lines))
    say(f"{len(lines)} interpreters passed, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
