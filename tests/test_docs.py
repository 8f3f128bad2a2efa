"""The documentation says what is there: names, arguments, programs, pages.

Whole programs stand in examples/, are run by tests/test_examples*.py and included by the pages;
README.md's are run here. What stands on a page itself is a fragment: it has to compile, and
what it calls has to take those arguments.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import textwrap

import pytest
from programs import EXAMPLES, ROOT, Program, lasting_port

import picows_c

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.rst")])
TEXTS = [ROOT / "README.md", *PAGES]

# Calls of these names are checked, and those of any object's methods with these.
FUNCTIONS = {name: getattr(picows_c, name) for name in picows_c.__all__}
METHODS = {
    "close_gracefully": picows_c.WSServer.close_gracefully,
    "measure_roundtrip_time": picows_c.WSTransport.measure_roundtrip_time,
}


def blocks(path):
    """Return the fenced Python of a page: (line, text)."""
    text = path.read_text()
    found = re.finditer(r"^( *)```python\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 2, textwrap.dedent(match[2])) for match in found]


def relative(path):
    return path.relative_to(ROOT).as_posix()


# ---- what stands on the pages ----


def check_fragments(path):
    """Compile what a page shows, and compare its calls with what they call."""
    for line, text in blocks(path):
        where = f"{path.name}:{line}"
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        for node in ast.walk(compile(text, where, "exec", flags)):
            if isinstance(node, ast.ImportFrom) and node.module == "picows_c":
                missing = {alias.name for alias in node.names} - set(picows_c.__all__)
                assert not missing, f"{where}: {missing}"
            if isinstance(node, ast.Call):
                check_call(node, where)


def check_call(call, where):
    attribute = getattr(call.func, "attr", None)
    target = METHODS.get(attribute) or FUNCTIONS.get(getattr(call.func, "id", None))
    if not inspect.isfunction(target):
        return
    names = [keyword.arg for keyword in call.keywords if keyword.arg]
    places = [None] * (len(call.args) + (attribute in METHODS))
    # "..." stands for what is left out.
    elided = any(isinstance(value, ast.Constant) and value.value is ... for value in call.args)
    signature = inspect.signature(target)
    # It hands on what it does not know.
    if target is picows_c.reconnect:
        own = signature.parameters
        options = dict.fromkeys(name for name in names if name not in own)
        inspect.signature(picows_c.ws_connect).bind_partial(**options)
    try:
        bind = signature.bind_partial if elided else signature.bind
        bound = bind(*([] if elided else places), **dict.fromkeys(names))
    except TypeError as error:
        raise AssertionError(f"{where}: {target.__name__}(): {error}") from None
    # What ws_connect() takes as **kwargs is loop.create_connection()'s.
    extra = set(bound.arguments.get("kwargs", ()))
    assert extra <= set(inspect.signature(asyncio.BaseEventLoop.create_connection).parameters)


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_fragments(path):
    check_fragments(path)


@pytest.mark.parametrize(
    "text",
    [
        "await ws_connect(Listener, url, max_mesage_size=1)",
        "await ws_connect(..., max_mesage_size=1)",
        "await ws_create_server(factory, 'h', 1, 2)",
        "await server.close_gracefully(tiemout=1)",
        "from picows_c import ws_conect",
        "this is no Python",
    ],
)
def test_what_fragments_may_not_be(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"```python\n{text}\n```\n")
    assert blocks(page) == [(2, text + "\n")]
    with pytest.raises((AssertionError, SyntaxError)):
        check_fragments(page)


def test_programs_of_the_readme(tmp_path):
    """Its client and its server talk; only the port is another one."""
    client, server = (text for _, text in blocks(ROOT / "README.md"))
    port = lasting_port()
    scripts = []
    for name, text in (("client.py", client), ("server.py", server)):
        assert text.count("9001") == 1
        scripts.append(tmp_path / name)
        scripts[-1].write_text(text.replace("9001", str(port)))
    with Program(sys.executable, scripts[1]) as running:
        running.wait_for_port(port)
        with Program(sys.executable, scripts[0]) as talking:
            assert talking.end() == (0, "Echo reply: Hello world\n")


# ---- what the pages point to ----


def test_every_page_is_in_llms_txt():
    """docs/llms.txt has one line for each page, in the order of index.md."""
    lines = (DOCS / "llms.txt").read_text().splitlines()
    entries = [
        re.fullmatch(r"- \[(.+)\]\((.+)\.html\): (.+)", line) for line in lines if line[:1] == "-"
    ]
    assert all(entries)
    listed = [entry[2] for entry in entries]
    assert all(len(entry[3]) <= 100 for entry in entries)
    toctrees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    names = [name for tree in toctrees for name in tree.split("\n") if name and name[0] != ":"]
    assert listed == names
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES}
    assert pages - {"index"} == set(listed)


def test_the_example_page_names_each_program():
    page = (DOCS / "examples.md").read_text()
    for path in EXAMPLES.rglob("*.*"):
        if "__pycache__" not in path.parts:
            inside = path.relative_to(EXAMPLES)
            name = inside.as_posix() if inside.parts[0] != "coming_from" else "coming_from/"
            assert f"`{name}`" in page, name


def test_the_tour_names_each_module():
    tour = (DOCS / "tour.md").read_text()
    missing = {path.name for path in ROOT.glob("picows_c/*.py") if f"`{path.name}`" not in tour}
    assert not missing


# ---- the reference ----

REFERENCE = (DOCS / "reference.rst").read_text()
NAMES = sorted(set(picows_c.__all__) - {"__version__", "PICOWS_DEBUG_LL"})


def test_every_public_name_is_in_the_reference():
    listed = re.findall(r"^\.\. auto\w+:: (\w+)", REFERENCE, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert sorted(listed) == NAMES
    assert "PICOWS_DEBUG_LL" in REFERENCE


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_explained(name):
    thing = getattr(picows_c, name)
    assert inspect.getdoc(thing)
    if not inspect.isclass(thing):
        return
    for member, value in vars(thing).items():
        if not member.startswith("_") and (callable(value) or inspect.isdatadescriptor(value)):
            # An attribute may be explained with its class.
            assert inspect.getdoc(value) or member in inspect.getdoc(thing), f"{name}.{member}"
