"""The types that are shipped say what is there at run time; ``make types`` checks the rest."""

from __future__ import annotations

import ast
import enum
import inspect
from pathlib import Path

import pytest

import picows_c
from picows_c import _core

STUB = Path(picows_c.__file__).with_name("_core.pyi")


def documented() -> list[tuple[str, str]]:
    """Return the stub's names with their docstrings."""
    found: list[tuple[str, str]] = []
    for node in ast.parse(STUB.read_text()).body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)) or not hasattr(_core, node.name):
            continue
        found.append((node.name, ast.get_docstring(node) or ""))
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef):
                found.append((f"{node.name}.{method.name}", ast.get_docstring(method) or ""))
    return found


@pytest.mark.parametrize(("name", "text"), documented(), ids=[name for name, _ in documented()])
def test_stub_has_the_docstrings_of_the_runtime(name, text):
    thing = _core
    for part in name.split("."):
        thing = getattr(thing, part)
    if name.endswith(("__init__", "__new__", "__call__")):
        assert text == ""  # the class has it
    else:
        assert text
        assert text == inspect.getdoc(thing)


def test_package_is_typed():
    assert STUB.with_name("py.typed").exists()


@pytest.mark.parametrize("name", ["WSMsgType", "WSCloseCode", "WSAutoPingStrategy"])
def test_enums_are_ints(name):
    kind = getattr(picows_c, name)
    assert issubclass(kind, enum.IntEnum)
    for member in kind:
        assert member == int(member)
        assert kind(int(member)) is member
