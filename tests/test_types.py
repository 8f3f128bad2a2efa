"""The types that are shipped say what is there at run time; ``make types`` checks the rest."""

from __future__ import annotations

import ast
import enum
import inspect
import os
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


def builtins() -> list[tuple[str, object]]:
    """Return what is written in C and can be called: functions, classes, their methods."""
    found: list[tuple[str, object]] = []
    for name, thing in vars(_core).items():
        if name.startswith("__") or not callable(thing):
            continue
        found.append((name, thing))
        for method in vars(thing) if isinstance(thing, type) else ():
            value = getattr(thing, method)
            if issubclass(thing, tuple) and method in STRUCTSEQ:
                continue
            if callable(value) and not isinstance(value, type):
                found.append((f"{name}.{method}", value))
    return found


# Nobody can make one: there is no call to describe.
MADE_HERE = ("WSFrame", "Callbacks")
# What CPython gives to each of its own named tuples.
STRUCTSEQ = vars(os.stat_result)


@pytest.mark.parametrize(("name", "thing"), builtins(), ids=[name for name, _ in builtins()])
def test_builtins_have_signatures(name, thing):
    if name in MADE_HERE:
        with pytest.raises(TypeError, match="cannot be created"):
            thing()
        return
    signature = inspect.signature(thing)
    given = stubbed().get(name)
    if given is not None:
        ours = [parameter for parameter in signature.parameters if parameter != "self"]
        assert ours == [argument for argument in given if argument not in ("self", "cls")]


def stubbed() -> dict[str, list[str]]:
    """Return the parameters that the stub has, by name."""
    found = {}
    for node in ast.parse(STUB.read_text()).body:
        for method in node.body if isinstance(node, ast.ClassDef) else [node]:
            if not isinstance(method, ast.FunctionDef):
                continue
            prefix = "" if method is node else f"{node.name}."
            name = node.name if method.name in ("__init__", "__new__") else prefix + method.name
            if not method.name.startswith("__") or name == node.name:
                arguments = method.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                found[name] = [argument.arg for argument in every]
    return found


def test_public_names_have_signatures():
    for name in picows_c.__all__:
        thing = getattr(picows_c, name)
        if not callable(thing) or name in MADE_HERE or thing.__module__ == "typing":
            continue
        if not isinstance(thing, type) or "__init__" in vars(thing):
            inspect.signature(thing)  # of the rest Python's own classes have none
        for method, value in vars(thing).items() if isinstance(thing, type) else ():
            if callable(getattr(thing, method)) and not method.startswith("_"):
                assert inspect.signature(getattr(thing, method)), value


def test_signature_of_send_close():
    signature = inspect.signature(picows_c.WSTransport.send_close)
    assert str(signature) == "(self, /, close_code=0, close_message=None)"
    assert signature.parameters["close_code"].default == picows_c.WSCloseCode.NO_INFO
