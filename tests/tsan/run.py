"""Data races: tests/tsan/threads.py on a free-threaded CPython under ThreadSanitizer.

    PYTHON_TSAN=DIR/bin/python3 python tests/tsan/run.py [--threads 8] [--rounds 20]

The interpreter is CPython 3.13 or later, configured --disable-gil --with-thread-sanitizer; it
builds the extension with the same flags. A report counts as ours where one of the two accesses is
in csrc, or is made by CPython on behalf of a function there. CPython's own are counted, too, but
do not fail. Without such an interpreter a line begins with SKIP; with REQUIRE_ALL=1 that fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "tsan"
# So many frames of an access, from the top, tell whose it is.
FRAMES = 4


def skip(why: str) -> None:
    print(f"SKIP tsan: {why}")
    sys.exit(os.environ.get("REQUIRE_ALL") == "1")


def build(python: str) -> dict[str, str]:
    """Build the extension, install what it needs; return the environment to run in."""
    lib = OUT / "lib"
    lib.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, TSAN_OPTIONS="report_bugs=0", PICOWS_C_DEBUG="1")
    if not (lib / "multidict").exists():
        packages = ["multidict", "setuptools"]
        pip = [python, "-m", "pip", "install", "-q", "--target", str(lib), *packages]
        subprocess.run([*pip, "--disable-pip-version-check"], check=True, env=env)
    env["PYTHONPATH"] = str(lib)
    command = [python, "setup.py", "-q", "build_ext", "--force", "--build-lib", str(lib)]
    command += ["--build-temp", str(OUT / "temp")]
    subprocess.run(command, check=True, env=env, cwd=ROOT)
    for source in (ROOT / "picows_c").glob("*.py*"):
        (lib / "picows_c" / source.name).write_bytes(source.read_bytes())
    return env


def certificates() -> Path | None:
    """Make a certificate with this Python's trustme, for the other one to use."""
    try:
        import trustme
    except ImportError:
        return None
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(OUT / "server.pem")
    )
    authority.cert_pem.write_to_path(str(OUT / "ca.pem"))
    return OUT


def reports(text: str) -> list[str]:
    return re.findall(r"WARNING: ThreadSanitizer: .*?(?=\n==================)", text, re.DOTALL)


def is_ours(report: str) -> bool:
    """Return whether csrc is among the first frames of one of the accesses."""
    stacks = re.split(r"\n\s*\n", report)
    accesses = [
        s for s in stacks if re.search(r"(Previous )?(atomic )?(write|read) of size", s, re.I)
    ]
    for stack in accesses or stacks[:2]:
        frames = re.findall(r"^\s*#\d+ .*$", stack, re.MULTILINE)[:FRAMES]
        if any("csrc/" in frame for frame in frames):
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    python = os.environ.get("PYTHON_TSAN")
    if not python:
        skip("PYTHON_TSAN names no interpreter")
    assert python is not None
    probe = "import sysconfig; get = sysconfig.get_config_var\n"
    probe += "print(get('Py_GIL_DISABLED'), get('CONFIG_ARGS'))"
    env = dict(os.environ, TSAN_OPTIONS="report_bugs=0")
    said = subprocess.run(
        [python, "-c", probe], check=True, capture_output=True, text=True, env=env
    )
    if not said.stdout.startswith("1 ") or "--with-thread-sanitizer" not in said.stdout:
        skip(f"{python} is not free-threaded with ThreadSanitizer: {said.stdout.strip()}")
    env = build(python)
    log = OUT / "report"
    for old in OUT.glob("report.*"):
        old.unlink()
    env["TSAN_OPTIONS"] = f"log_path={log} exitcode=0 history_size=5"
    command = [python, str(ROOT / "tests/tsan/threads.py")]
    command += ["--threads", str(args.threads), "--rounds", str(args.rounds)]
    folder = certificates()
    command += ["--tls", str(folder)] if folder else []
    status = subprocess.run(command, check=False, env=env).returncode
    text = "".join(path.read_text(errors="replace") for path in sorted(OUT.glob("report.*")))
    found = reports(text)
    ours = [report for report in found if is_ours(report)]
    for report in ours:
        print(report)
    print(f"{len(ours)} reports of ours, {len(found) - len(ours)} of CPython alone ({log}.*)")
    sys.exit(status != 0 or bool(ours))


if __name__ == "__main__":
    main()
