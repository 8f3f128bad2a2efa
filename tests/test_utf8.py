"""The core's UTF-8 validator against CPython's decoder: all short texts that can differ, and more.

The validator is compiled by itself into a library.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[1] / "csrc" / "core"
# Of each class of bytes (RFC 3629, 4) the first and the last, and their neighbours.
EDGES = bytes.fromhex("00 7f 80 81 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")
ENDS = bytes.fromhex("00 7f 80 8f 90 9f a0 bf c2 ff")


class State(ctypes.Structure):
    """struct ws_utf8; all zero is the start."""

    _fields_ = [("fields", ctypes.c_uint8 * 5)]


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    if sys.platform == "win32":
        pytest.skip("the compiler's call is POSIX's")
    made = tmp_path_factory.mktemp("utf8") / "utf8.so"
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-O2", "-shared", "-fPIC"]
    command += [str(CORE / "ws_utf8.c"), "-o", str(made)]
    subprocess.run(command, check=True, env=env)
    library = ctypes.CDLL(str(made))
    library.ws_utf8_valid.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.ws_utf8_feed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.ws_utf8_done.argtypes = [ctypes.c_void_p]
    return library


def decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_broken(text: bytes) -> bool:
    """Return whether the text is wrong whatever follows."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return False


def test_the_structure_is_the_headers():
    text = (CORE / "ws_utf8.h").read_text()
    body = text[text.index("struct ws_utf8 {") : text.index("};")]
    names = [
        name.strip(" ,;")
        for line in body.splitlines()
        if line.strip().startswith("uint8_t")
        for name in line.split()[1:]
    ]
    assert len(names) == 5


def test_all_of_one_and_two_bytes(core):
    valid = core.ws_utf8_valid
    for n in (0, 1, 2):
        for text in map(bytes, itertools.product(range(256), repeat=n)):
            assert bool(valid(text, n)) is decodes(text), text.hex()


def test_all_beginnings_with_every_kind_of_end(core):
    """Any two bytes, then one of each kind, then one of each kind."""
    valid = core.ws_utf8_valid
    for first, second in itertools.product(range(0xC0, 256), range(256)):
        for third in EDGES:
            text = bytes((first, second, third))
            assert bool(valid(text, 3)) is decodes(text), text.hex()
    for first, second in itertools.product(range(0xF0, 256), range(256)):
        for third, fourth in itertools.product(ENDS, ENDS):
            text = bytes((first, second, third, fourth))
            assert bool(valid(text, 4)) is decodes(text), text.hex()


def test_every_character(core):
    """All of Unicode, in blocks; the surrogates, each by itself."""
    for begin in range(0, 0x110000, 0x400):
        text = "".join(map(chr, range(begin, begin + 0x400))).encode("utf-8", "surrogatepass")
        is_surrogates = 0xD800 <= begin < 0xE000
        assert bool(core.ws_utf8_valid(text, len(text))) is not is_surrogates
    for number in range(0xD800, 0xE000):
        text = chr(number).encode("utf-8", "surrogatepass")
        assert not core.ws_utf8_valid(text, len(text))


@pytest.mark.parametrize("seed", range(8))
def test_pieces(core, seed):
    """The error comes with the piece that shows it: what is merely not finished is none."""
    rng = random.Random(seed)
    words = ["a" * 40, "text ", "\u00e9", "\u20ac" * 7, "\U0001f600", "\ud7ff\ue000", "\x00"]
    for _ in range(3000):
        text = bytearray("".join(rng.choices(words, k=rng.randrange(12))).encode())
        if text and rng.random() < 0.6:
            text[rng.randrange(len(text))] = rng.choice(EDGES)
        if text and rng.random() < 0.2:
            del text[rng.randrange(len(text)) :]
        state, at = State(), 0
        while at < len(text):
            n = rng.choice([1, 2, 3, 16, 31, 32, 33, 100])
            piece = bytes(text[at : at + n])
            at += n
            got = core.ws_utf8_feed(ctypes.byref(state), piece, len(piece))
            assert (got != 0) is is_broken(bytes(text[:at])), (bytes(text).hex(), at)
        assert (core.ws_utf8_done(ctypes.byref(state)) == 0) is decodes(bytes(text))
