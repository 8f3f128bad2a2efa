"""The rules of the architecture: what includes what, what the core may not know, mirrored tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
C_ROOT = ROOT / "csrc"
PUBLIC_HEADER = ROOT / "picows_c/include/picows_c.h"
C_FILES = [*sorted(C_ROOT.glob("*/*.[ch]")), PUBLIC_HEADER]
PY_ROOT = ROOT / "picows_c"
PY_FILES = sorted(PY_ROOT.glob("*.py"))
CLI_FILES = sorted(PY_ROOT.glob("cli/*.py"))

# The binding's layers, top first: a file may include those below it, and its own header.
EXT_LAYERS = [
    {"module"},
    {"poller_type"},
    {"poller"},
    {"stream_type", "acceptor"},
    {"stream_tls", "stream_end", "reader_type", "reader_head"},
    {"stream"},
    {"stream_state"},
    {"tls", "reader", "c_api"},
    {"reader_state"},
    {"transport_type", "broadcast", "callbacks"},
    {"transport", "frame"},
    {"loop_io", "deflate", "tls_layer"},
    {"way", "watch", "ssl_module"},
    {"state", "object", "args", "view", "head", "raise", "compat", "budget"},
]

# Who may import whom in the package; what only types need does not count.
PY_IMPORTS = {
    "version": set(),
    "body": set(),
    "enums": set(),
    "errors": set(),
    "closing": {"enums"},
    "deadlines": set(),
    "extensions": set(),
    "extras": set(),
    "url": {"errors", "extras"},
    "listener": {"enums"},
    "stats": set(),
    "keepalive": {"_core", "enums", "listener"},
    "c_api": set(),
    "deflate": {"_core", "extensions"},
    "handshake": {"_core", "deflate", "errors", "extensions", "url"},
    "redirects": {"errors", "url"},
    "proxy": {"errors", "extras", "url"},
    "transport": {"_core", "closing", "enums", "stats"},
    "options": {"deflate", "enums"},
    "protocol": {
        "_core", "closing", "enums", "errors", "keepalive", "listener", "options", "transport",
    },
    "poller": {"_core"},
    "stream": {"_core", "poller"},
    "listening": {"_core", "deadlines", "enums", "options", "poller", "stream"},
    "racing": set(),
    "connecting": {"poller", "proxy", "racing", "stream", "url"},
    "client": {
        "_core", "body", "connecting", "deflate", "enums", "errors", "extras", "handshake",
        "listener", "options", "poller", "protocol", "proxy", "redirects", "transport", "url",
    },
    "reconnect": {"client", "enums", "errors", "listener", "options", "transport", "url"},
    "server": {
        "_core", "deflate", "enums", "extensions", "extras", "handshake", "listener", "listening",
        "options", "poller", "protocol", "stream",
    },
    "__init__": {
        "_core", "c_api", "client", "closing", "deflate", "enums", "errors", "handshake",
        "listener", "listening", "options", "reconnect", "server", "stats", "transport", "url",
        "version",
    },
    "__main__": {"cli.main"},
}  # fmt: skip

# The same of the command line, which takes from the rest of the package what any program could.
CLI_IMPORTS = {
    "__init__": set(),
    "problems": set(),
    "running": {"problems"},
    "connecting": {"problems", "running"},
    "talk": {"connecting", "problems"},
    "serve": {"problems"},
    "bench": {"connecting", "problems"},
    "main": {"bench", "problems", "running", "serve", "talk"},
}


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE)


def room_of(header: str) -> str:
    rooms = [path.parent.name for path in C_FILES if path.name == header]
    assert len(rooms) == 1, f"{header} is in {rooms}"
    return rooms[0]


def layer_of(name: str) -> int:
    return next(i for i, names in enumerate(EXT_LAYERS) if name in names)


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_includes_go_down(path):
    allowed = {
        "core": {"core"},
        "platform": {"core", "platform"},
        "ext": {"core", "platform", "ext", "include"},
        "include": set(),
    }
    for header in includes(path):
        room = room_of(header)
        assert room in allowed[path.parent.name], f"{path.name} includes {room}/{header}"
        if room == path.parent.name == "ext" and Path(header).stem != path.stem:
            here, there = layer_of(path.stem), layer_of(Path(header).stem)
            lowest = len(EXT_LAYERS) - 1
            assert there > here or here == there == lowest, f"{path.name} includes {header}"


# Headers of the systems which include each other with <...>: ours, in a folder that the compiler is
# told of, would be taken for them. (CPython's pyconfig.h for Windows includes <io.h>.)
SYSTEM_HEADERS = {
    "assert", "complex", "conio", "crypt", "ctype", "direct", "dirent", "dlfcn", "errno", "fcntl",
    "fenv", "float", "inttypes", "io", "iso646", "limits", "locale", "malloc", "math", "mbstring",
    "memory", "poll", "process", "pthread", "sched", "search", "semaphore", "setjmp", "share",
    "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib",
    "stdnoreturn", "string", "strings", "tgmath", "threads", "time", "uchar", "unistd", "utime",
    "wchar", "wctype", "windows",
}  # fmt: skip


@pytest.mark.parametrize(
    "path", [p for p in C_FILES if p.suffix == ".h"], ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_no_header_is_named_as_one_of_the_systems(path):
    assert path.stem not in SYSTEM_HEADERS


@pytest.mark.parametrize(
    "path",
    [p for p in C_FILES if p.parent.name in ("core", "platform")],
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_core_and_platform_do_not_know_python(path):
    text = path.read_text()
    assert "Python.h" not in re.findall(r"#\s*include\s+[<\"]([^>\"]+)", text)
    assert not re.search(r"\bPy[A-Z]\w+", text)


@pytest.mark.parametrize(
    "path", [p for p in C_FILES if p.parent.name == "core"], ids=lambda p: p.name
)
def test_core_has_no_state_of_its_own(path):
    """Static data is constant; no clock, no errno, no allocation past ws_mem."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
    for line in re.findall(r"^\s*static\b[^;{(]*[;={]", text, re.MULTILINE):
        assert "const" in line, f"{path.name}: {line.strip()}"
    for word in ("errno", "malloc", "calloc", "realloc", "free", "time", "getenv", "printf"):
        assert not re.search(rf"(?<![\w>.]){word}\s*\(", text), f"{path.name} calls {word}()"
    assert "errno" not in text


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_sources_are_ascii_and_short_enough(path):
    text = path.read_bytes().decode("ascii")
    lines = text.count("\n")
    limit = 800 if path.parent.name == "ext" else 380
    # The public header explains itself to people who see nothing else.
    headers = 200 if path == PUBLIC_HEADER else 150
    assert lines <= (limit if path.suffix == ".c" else headers), f"{path.name} has {lines} lines"


def test_tour_names_every_file():
    tour = (C_ROOT / "README.md").read_text()
    missing = {p.stem for p in C_FILES if f"`{p.stem}`" not in tour and f"`{p.name}`" not in tour}
    assert not missing


def test_each_core_file_has_its_c_test():
    mirrored = {path.stem[len("test_") :] for path in (ROOT / "tests/c").glob("test_*.c")}
    for path in sorted(C_ROOT.glob("core/*.c")) + sorted(C_ROOT.glob("platform/entropy.c")):
        noun = re.sub(r"^ws_", "", path.stem)
        noun = re.sub(r"_(x86|neon)$", "", noun)
        assert noun in mirrored, f"{path.name} has no tests/c/test_{noun}.c"
    main = (ROOT / "tests/c/main.c").read_text()
    for noun in mirrored:
        assert f"suite_{noun}" in main


def package_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", PY_FILES, ids=lambda p: p.stem)
def test_imports_go_down(path):
    assert package_imports(path) <= PY_IMPORTS[path.stem]


@pytest.mark.parametrize("path", CLI_FILES, ids=lambda p: p.stem)
def test_command_line_uses_the_public_names(path):
    import picows_c

    assert package_imports(path) <= CLI_IMPORTS[path.stem]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("picows_c"):
            assert node.module == "picows_c"
            assert {alias.name for alias in node.names} <= set(picows_c.__all__)
        assert not (isinstance(node, ast.ImportFrom) and node.level > 1)


def test_public_names_are_exported_once():
    import picows_c

    assert sorted(picows_c.__all__) == picows_c.__all__
    for name in picows_c.__all__:
        assert getattr(picows_c, name) is not None


# Which test files speak of which module: a module without one is not tested.
MIRRORS = {
    "__init__": "test_architecture.py",
    "version": "test_architecture.py",
    "__main__": "test_command_line.py",
    "listener": "test_callbacks*.py",
    "protocol": "test_closing*.py",
    "transport": "test_send*.py",
    "client": "test_handshake_client*.py",
    "connecting": "test_connect*.py",
    "extras": "test_proxy*.py",
    "server": "test_handshake_server*.py",
    "handshake": "test_handshake*.py",
    "closing": "test_closing*.py",
    "stats": "test_flow.py",
}


@pytest.mark.parametrize("path", PY_FILES, ids=lambda p: p.stem)
def test_each_module_has_its_test(path):
    pattern = MIRRORS.get(path.stem, f"test_{path.stem}.py")
    assert list((ROOT / "tests").glob(pattern)), f"no tests/{pattern}"


def test_version_comes_from_one_place():
    import picows_c

    assert re.fullmatch(r"\d+\.\d+\.\d+", picows_c.__version__)
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {picows_c.__version__}" in changelog
    project = (ROOT / "pyproject.toml").read_text()
    assert 'version = { attr = "picows_c.version.__version__" }' in project
    assert not re.search(r'^version = "', project, re.MULTILINE)
    for path in [*PY_FILES, *CLI_FILES, ROOT / "setup.py", ROOT / "docs/conf.py"]:
        assert path.stem == "version" or picows_c.__version__ not in path.read_text(), path


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))  # not in an sdist


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflows_trust_nobody(path):
    """Each action is the commit that was looked at; rights are given by the job, not by default."""
    text = path.read_text()
    for action in re.findall(r"uses: *(.*)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+|\./.*", action), action
    assert re.search(r"^permissions: (\{\}|\{ contents: read \})$", text, re.MULTILINE)
    checkouts = text.count("uses: actions/checkout@")
    assert text.count("persist-credentials: false") == checkouts


def test_quick_part_is_there():
    names = (ROOT / "tests/quick.txt").read_text().splitlines()
    assert names == sorted(set(names))
    assert not [name for name in names if not (ROOT / name).is_file()]
