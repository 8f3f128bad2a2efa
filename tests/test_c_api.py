"""The C API: the examples and a probe are compiled, and frames go through them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.machinery
import importlib.util
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import Recorder
from raw import complaints, pattern, row, soon
from wire import client_frame, request_bytes

import picows_c
from picows_c import WSCloseCode, WSListener, WSMsgType, _core, poller

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(picows_c.__file__).resolve().parent
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
HEADROOM = 14
SIZES = [0, 1, 125, 126, 129, 4096, 65535, 65536, 1 << 20]


# ---- building ----


_built: dict[str, Any] = {}


def build(name: str, source: Path, folder: Path, **environment: str) -> Any:
    """Compile a copy of an extension's folder and import what came out."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    if "LD_PRELOAD" in environment:
        # The sanitizer that is preloaded is needed by the package, and no good for the compiler.
        for variable, program in (("CC", "cc"), ("CXX", "c++")):
            script = folder / program
            command = f'unset LD_PRELOAD; exec {environment.get(variable, program)} "$@"'
            script.write_text(f"#!/bin/sh\n{command}\n")
            script.chmod(0o755)
            environment[variable] = str(script)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    file = folder / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    loader = importlib.machinery.ExtensionFileLoader(name, str(file))
    spec = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def has_compiler(variable: str, otherwise: str) -> bool:
    """Whether there is the compiler that setuptools will call."""
    command = os.environ.get(variable) or sysconfig.get_config_var(variable) or otherwise
    return sys.platform == "win32" or shutil.which(shlex.split(command)[0]) is not None


@pytest.fixture
def compiled(need, tmp_path_factory):
    """Build each extension once: ``compiled(name, folder)``."""
    need("setuptools", importlib.util.find_spec("setuptools"))
    need("a C compiler", has_compiler("CC", "cc"))

    def get(name: str, source: Path, **environment: str) -> Any:
        key = name + "".join(environment.values())
        if key not in _built:
            _built[key] = build(name, source, tmp_path_factory.mktemp(name), **environment)
        return _built[key]

    return get


@pytest.fixture
def c_listener(compiled):
    return compiled("c_listener", ROOT / "examples/c_listener")


@pytest.fixture
def cython_listener(need, compiled):
    need("Cython", importlib.util.find_spec("Cython"))
    return compiled("cython_listener", ROOT / "examples/cython_listener")


@pytest.fixture
def probe(compiled):
    return compiled("probe", ROOT / "tests/c_api", PROBE_LANGUAGE="c")


@pytest.fixture(params=["c_listener", "cython_listener"])
def example(request):
    return request.getfixturevalue(request.param)


def test_header_and_pxd_are_installed():
    include = Path(picows_c.get_include())
    assert include == PACKAGE / "include"
    assert "PicowsC_Import" in (include / "picows_c.h").read_text()
    assert '"picows_c.h"' in (include / "picows_c.pxd").read_text()


def test_pxd_declares_what_the_header_does():
    """Every name of the header, but its guard, stands in the pxd."""
    include = Path(picows_c.get_include())
    names = re.findall(r"\b(PICOWSC_\w+|PicowsC_\w+)", (include / "picows_c.h").read_text())
    members = re.findall(r"\(\*(\w+)\)\(", (include / "picows_c.h").read_text())
    assert len(members) == 11
    pxd = (include / "picows_c.pxd").read_text()
    for name in {*names, *members}:
        assert re.search(rf"\b{name}\b", pxd), name


# ---- the examples ----


@pytest.mark.parametrize("size", SIZES)
async def test_echo(net, example, size):
    payload = pattern(size)
    async with net.serve(lambda request: example.echo()):
        transport, listener = await net.connect(Recorder)
        for opcode in (WSMsgType.BINARY, WSMsgType.TEXT):
            transport.send(opcode, payload)
            frame = await soon(listener.frames.get())
            assert (frame.msg_type, frame.fin) == (opcode, True)
            assert frame.get_payload_as_bytes() == payload
        transport.send(WSMsgType.BINARY, payload, fin=False)
        transport.send(WSMsgType.CONTINUATION, payload)
        first, second = [await soon(listener.frames.get()) for _ in range(2)]
        assert (first.msg_type, first.fin) == (WSMsgType.BINARY, False)
        assert (second.msg_type, second.fin) == (WSMsgType.CONTINUATION, True)
        assert first.get_payload_as_bytes() == second.get_payload_as_bytes() == payload
        transport.send_close(WSCloseCode.OK, b"bye")
        await soon(transport.wait_disconnected())
        assert transport.close_handshake.recv.code is WSCloseCode.OK


@pytest.mark.parametrize("options", [{"assemble_messages": True}, {"compression": True}])
async def test_echo_of_whole_messages(plain, example, options):
    options = {"assemble_messages": True, **options}
    payload = pattern(100_000)
    async with plain.serve(lambda request: example.echo(), **options):
        transport, listener = await plain.connect(Recorder, **options)
        transport.send(WSMsgType.BINARY, payload[:70_000], fin=False)
        transport.send(WSMsgType.CONTINUATION, payload[70_000:])
        frame = await soon(listener.frames.get())
        assert frame.get_payload_as_bytes() == payload
        transport.disconnect()
        await soon(transport.wait_disconnected())


@pytest.mark.parametrize("language", ["c", "cython"])
async def test_example_of_the_documentation(plain, need, compiled, tmp_path, language):
    """The page's own words, compiled."""
    page = (ROOT / "docs/c-api.md").read_text()
    source = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL).group(1)
    setup = re.search(r"```python\n(from setuptools.*?)```", page, re.DOTALL).group(1)
    if language == "cython":
        need("Cython", importlib.util.find_spec("Cython"))
        call = re.search(r"```python\n(cythonize.*?)\n```", page, re.DOTALL).group(1)
        setup = "from Cython.Build import cythonize\n" + re.sub(
            r"\[Extension.*\],\n", call.replace("\\", "\\\\") + ",\n", setup
        )
    folder = tmp_path / "echo"
    folder.mkdir()
    (folder / ("echo.c" if language == "c" else "echo.pyx")).write_text(source)
    (folder / "setup.py").write_text(setup)
    echo = compiled("echo", folder, ECHO_LANGUAGE=language)
    async with plain.serve(lambda request: echo.listener()):
        transport, listener = await plain.connect(Recorder)
        transport.send(WSMsgType.TEXT, "as written")
        assert bytes(await soon(listener.frames.get())) == b"as written"
        transport.disconnect()
        await soon(transport.wait_disconnected())


def trade(price: object) -> str:
    return f'{{"s": "BTCUSDT", "p": "{price}"}}'


class Feed(Recorder):
    """Answers the subscription with prices, and ends."""

    def __init__(self, *messages: Any) -> None:
        super().__init__()
        self.messages = messages

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        super().on_ws_frame(transport, frame)
        if frame.msg_type is WSMsgType.TEXT:
            for message in self.messages:
                kind = WSMsgType.BINARY if isinstance(message, bytes) else WSMsgType.TEXT
                transport.send(kind, message)
            transport.send_close(WSCloseCode.OK)


async def test_ticks(net, c_listener):
    prices = [64250.1, 64249.5, 64251.25, 64250.0]
    feed = Feed(*map(trade, prices), b"no text")
    async with net.serve(lambda request: feed):
        ticks = c_listener.Ticks(b"subscribe")
        transport, listener = await net.connect(ticks.listener)
        assert type(listener) is WSListener
        await soon(transport.wait_disconnected())
    assert (await soon(feed.frames.get())).get_payload_as_bytes() == b"subscribe"
    assert (ticks.count, ticks.bytes) == (4, sum(len(trade(price)) for price in prices))
    assert (ticks.last, ticks.low, ticks.high) == (64250.0, 64249.5, 64251.25)


@pytest.mark.parametrize("text", ['{"s": "X"}', '{"p": ""}', '{"p": "1e"}', '{"p": "1', ""])
async def test_ticks_wants_prices(plain, c_listener, text):
    feed = Feed(trade(1), text, trade(2))
    async with plain.serve(lambda request: feed):
        ticks = c_listener.Ticks(b"subscribe")
        transport, _ = await plain.connect(ticks.listener)
        with pytest.raises(ValueError, match="a message without a price"):
            await soon(transport.wait_disconnected())
        await soon(feed.disconnected.wait())
    assert feed.transport.close_handshake.recv.code is WSCloseCode.INTERNAL_ERROR
    assert (ticks.count, ticks.last) == (1, 1.0)


class Quotes(Recorder):
    """Sends quotes at once."""

    def __init__(self, *quotes: bytes) -> None:
        super().__init__()
        self.quotes = quotes

    def on_ws_connected(self, transport: Any) -> None:
        super().on_ws_connected(transport)
        for quote in self.quotes:
            transport.send(WSMsgType.BINARY, quote)


async def test_best(net, cython_listener):
    quotes = [(99.0, 102.0), (100.0, 103.0), (98.0, 101.0)]
    server = Quotes(*(struct.pack("=dd", *quote) for quote in quotes), b"short", b"not seen")
    async with net.serve(lambda request: server):
        best = cython_listener.Best()
        transport, _ = await net.connect(best.listener)
        assert best.open == 1
        with pytest.raises(ValueError, match="a quote has 16 bytes, not 5"):
            await soon(transport.wait_disconnected())
    assert best.open == 0
    assert (best.count, best.best) == (3, (100.0, 101.0))


# ---- no Python for a frame ----


class Calls:
    """Counts the Python functions that run in this thread, by file and name."""

    def __init__(self) -> None:
        self.names: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Counter[tuple[str, str]]:
        sys.setprofile(self._profile)
        return self.names

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            self.names[frame.f_code.co_filename, frame.f_code.co_name] += 1
        elif event == "c_call":
            self.names["", getattr(arg, "__qualname__", repr(arg))] += 1


@contextlib.asynccontextmanager
async def flooded(net: Any, listener: Any, count: int) -> AsyncIterator[socket.socket]:
    """A server's listener that has so many frames to read, and then a ping; the other end."""
    loop = asyncio.get_running_loop()
    async with net.serve(lambda request: listener) as server:
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, server.sockets[0].getsockname())
            await loop.sock_sendall(sock, request_bytes())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await soon(loop.sock_recv(sock, 1))
            # All of it is in the kernel before the loop looks: few reads take it.
            data = client_frame(TEXT, b"x" * 20) * count + client_frame(PING, b"end")
            assert sock.send(data) == len(data)
            yield sock


def answers(seen: bytes) -> int:
    """How many echoes there are before the answer to the ping; -1 where that is not there yet."""
    return len(seen[:-5]) // 22 if seen.endswith(b"\x8a\x03end") else -1


async def exchange(net: Any, listener: Any, count: int) -> tuple[Counter[tuple[str, str]], int]:
    """Have a listener take frames; what the thread called meanwhile, and the echoes."""
    loop = asyncio.get_running_loop()
    async with flooded(net, listener, count) as sock:
        seen = b""
        with Calls() as names:
            while answers(seen) < 0:
                seen += await soon(loop.sock_recv(sock, 1 << 20))
    return names, answers(seen)


COUNT = 1500


async def test_echo_makes_no_python_call_for_a_frame(plain, example):
    """Loop and poller make some for each read and each turn."""
    names, echoes = await exchange(plain, example.echo(), COUNT)
    assert echoes == COUNT
    assert max(names.values()) < COUNT / 10, names.most_common(5)


async def test_counting_makes_no_python_call_for_a_frame(plain, probe):
    probe.take_count()
    names, _ = await exchange(plain, probe.listener("count"), COUNT)
    assert probe.take_count() == COUNT
    assert max(names.values()) < COUNT / 10, names.most_common(5)


async def test_python_calls_are_seen(plain):
    names, _ = await exchange(plain, Recorder(), COUNT)
    assert [names[key] for key in names if key[1] == "on_ws_frame"] == [COUNT]


@pytest.mark.skipif(_core.POLLER is None, reason="no poller here")
@pytest.mark.parametrize("way", ["auto"])
async def test_a_turn_of_the_poller_makes_no_python_call_at_all(plain, example):
    turn = poller.poller_of(asyncio.get_running_loop())._turn
    names: Counter[tuple[str, str]] = Counter()
    async with flooded(plain, example.echo(), COUNT) as sock:
        seen = b""
        for _ in range(100_000):
            with Calls() as made:
                turn()
            names += made
            with contextlib.suppress(BlockingIOError):
                seen += sock.recv(1 << 20)
            if answers(seen) >= 0:
                break
    assert answers(seen) == COUNT
    # What is left is the test's own.
    turns = names.pop(("", "Poller._turn"))
    assert set(names) == {("", "setprofile"), (__file__, "__exit__")}
    assert turns < COUNT / 10


# ---- errors ----


class Told(WSListener):
    """A listener in Python whose frames go to C."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, BaseException]] = []
        self.frames: list[Any] = []
        self.events: list[str] = []
        self.transport: Any = None

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("connected")

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        self.frames.append(frame)

    def on_ws_disconnected(self, transport: Any) -> None:
        self.events.append("disconnected")

    def on_ws_error(self, transport: Any, exc: Exception, where: str) -> None:
        self.errors.append((where, exc))


WRONG = {
    "raise": (ZeroDivisionError, "from C"),
    "forget": (ZeroDivisionError, "from C"),
    "silent": (SystemError, "the C function on_frame returned -1 without an exception"),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_errors_end_the_connection(net, probe, kind):
    told = Told()
    probe.bind(told, kind)
    async with net.serve(lambda request: told):
        transport, _ = await net.connect(Recorder)
        transport.send(WSMsgType.TEXT, "first")
        transport.send(WSMsgType.TEXT, "second")
        await soon(transport.wait_disconnected())
    assert transport.close_handshake.recv.code is WSCloseCode.INTERNAL_ERROR
    ((where, error),) = told.errors
    assert where == "on_ws_frame"
    assert (type(error), str(error)) == WRONG[kind]
    assert told.transport.disconnect_cause.exception is error
    assert told.events == ["connected", "disconnected"]


@pytest.mark.parametrize("kind", WRONG)
async def test_errors_end_nothing_where_that_was_asked_for(plain, probe, kind):
    told = Told()
    probe.bind(told, kind)
    async with plain.serve(lambda request: told, disconnect_on_exception=False):
        transport, _ = await plain.connect(Recorder)
        for _ in range(3):
            transport.send(WSMsgType.TEXT, "again")
        transport.send_close(WSCloseCode.OK)
        await soon(transport.wait_disconnected())
    assert transport.close_handshake.recv.code is WSCloseCode.OK
    # The CLOSE is a frame as well.
    assert [where for where, _ in told.errors] == ["on_ws_frame"] * 4


async def test_error_in_on_connected(plain, probe, caplog):
    seen: list[Any] = []
    async with plain.serve(lambda request: probe.listener("raise early", seen)):
        transport, _ = await plain.connect(Recorder)
        await soon(transport.wait_disconnected())
    assert transport.close_handshake.recv.code is WSCloseCode.INTERNAL_ERROR
    assert seen == []
    (record,) = complaints(caplog)
    assert record.exc_info[0] is ZeroDivisionError
    assert "on_ws_connected" in record.getMessage()


async def test_errors_of_plain_listeners_are_logged(plain, probe, caplog):
    async with plain.serve(lambda request: probe.listener("raise")):
        transport, _ = await plain.connect(Recorder)
        transport.send(WSMsgType.TEXT, "x")
        await soon(transport.wait_disconnected())
    (record,) = complaints(caplog)
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, pytest.fail.Exception])
async def test_a_c_function_may_raise_what_is_no_exception(net, probe, kind):
    error = kind("from C")

    def fail(transport: Any, frame: Any) -> None:
        raise error

    told = Told()
    probe.bind(told, "call", fail)
    async with net.serve(lambda request: told):
        transport, _ = await net.connect(Recorder)
        transport.send(WSMsgType.TEXT, "x")
        await soon(transport.wait_disconnected())
    assert transport.close_handshake.recv.code is WSCloseCode.INTERNAL_ERROR
    assert told.errors == [("on_ws_frame", error)]
    assert told.transport.disconnect_cause.exception is error


async def test_protocol_error_of_a_c_function_chooses_the_code(plain, probe):
    def refuse(transport: Any, frame: Any) -> None:
        raise picows_c.WSProtocolError(WSCloseCode.POLICY_VIOLATION, "not here")

    async with plain.serve(lambda request: probe.listener("call", refuse)):
        transport, _ = await plain.connect(Recorder)
        transport.send(WSMsgType.TEXT, "x")
        await soon(transport.wait_disconnected())
    assert transport.close_handshake.recv.code is WSCloseCode.POLICY_VIOLATION
    assert transport.close_handshake.recv.reason == "not here"


# ---- frames ----


async def test_kept_frames(net, probe):
    """They outlive the callback, the connection and the ring; the bytes do not move."""
    kept: list[Any] = []
    payloads = [pattern(size, size) for size in [0, 1, 128, 129, 5000, 70_000] * 20]
    async with net.serve(lambda request: probe.listener("keep all", kept)):
        transport, _ = await net.connect(Recorder)
        for payload in payloads:
            transport.send(WSMsgType.BINARY, payload)
        transport.send_close(WSCloseCode.OK)
        await soon(transport.wait_disconnected())
    connected, *frames, close, disconnected = kept
    assert connected is disconnected
    kept.clear()
    gc.collect()
    for frame, payload in zip(frames, payloads):
        opcode, fin, rsv, _, tail, data, address = probe.frame_get(frame)
        assert (opcode, fin, rsv) == (BINARY, 1, 0)
        assert data == payload
        assert tail == frame.tail_size
        assert address == probe.frame_get(frame)[-1]
    assert len(frames) == len(payloads)
    opcode, fin, _, last, tail, data, _ = probe.frame_get(close)
    assert (opcode, fin, last, tail, data) == (CLOSE, 1, 1, 0, b"\x03\xe8")


async def test_frame_fields(plain, probe):
    kept: list[Any] = []
    async with plain.serve(lambda request: probe.listener("keep", kept)):
        transport, _ = await plain.connect(Recorder)
        with transport.cork():
            transport.send(WSMsgType.TEXT, "a", fin=False)
            transport.send(WSMsgType.PONG, "b")
            transport.send(WSMsgType.CONTINUATION, "cc")
            transport.send_ping("not delivered")
        transport.send_close()
        await soon(transport.wait_disconnected())
    fields = [probe.frame_get(frame)[:6] for frame in kept[:3]]
    for found, frame in zip(fields, kept):
        opcode, fin, rsv, last, tail, data = found
        assert opcode == frame.msg_type
        assert fin == frame.fin
        assert rsv == 0
        assert last == frame.last_in_buffer
        assert tail == frame.tail_size
        assert data == bytes(frame)
    assert [(f[0], f[1], f[5]) for f in fields] == [(1, 0, b"a"), (10, 1, b"b"), (0, 1, b"cc")]


async def test_frames_on_another_thread(plain, probe):
    kept: list[Any] = []
    async with plain.serve(lambda request: probe.listener("keep", kept)):
        transport, _ = await plain.connect(Recorder)
        for number in range(100):
            transport.send(WSMsgType.BINARY, pattern(200, number))
        transport.send_close()
        await soon(transport.wait_disconnected())
    found: list[bytes] = []

    def read() -> None:
        found.extend(probe.frame_get(frame)[5] for frame in kept[:100])
        kept.clear()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [pattern(200, number) for number in range(100)]


# ---- sending ----


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("way_of_sending", ["send", "send_in_place"])
async def test_sending(net, probe, role, way_of_sending):
    send = getattr(probe, way_of_sending)
    ends = SimpleNamespace(client=Recorder(), server=Recorder())
    async with net.serve(lambda request: ends.server):
        await net.connect(lambda: ends.client)
        sender = getattr(ends, role)
        receiver = ends.server if role == "client" else ends.client
        await soon(sender.connected.wait())
        for size in SIZES:
            payload = pattern(size, size)
            memory = send(sender.transport, BINARY, payload)
            frame = await soon(receiver.frames.get())
            assert (frame.msg_type, frame.fin) == (WSMsgType.BINARY, True)
            assert frame.get_payload_as_bytes() == payload
            if way_of_sending == "send_in_place":
                # No copy was made: the head stands before the payload, and a client's is masked.
                assert memory[:HEADROOM].rstrip(b".") != b""
                masked = memory[HEADROOM:] != payload
                assert masked == (role == "client" and size > 1) or size <= 1
        send(sender.transport, TEXT, b"a", 0)
        send(sender.transport, PING, b"between")
        send(sender.transport, CONTINUATION, b"b", 7)  # any number but 0 is true
        first, second = [await soon(receiver.frames.get()) for _ in range(2)]
        assert (first.msg_type, first.fin) == (WSMsgType.TEXT, False)
        assert (second.msg_type, second.fin) == (WSMsgType.CONTINUATION, True)
        probe.send_close(sender.transport, 4000, b"bye")
        probe.send_close(sender.transport, 1000)
        await soon(ends.client.disconnected.wait())
        await soon(ends.server.disconnected.wait())
    sent = receiver.transport.close_handshake.recv
    assert (sent.code, sent.reason) == (4000, "bye")


async def test_in_place_while_much_waits(net, probe):
    """What the kernel does not take is copied: the memory is free when the call returns."""
    listener = Recorder()
    async with net.serve(lambda request: listener):
        transport, _ = await net.connect(Recorder)
        payloads = [pattern(300_000, start) for start in range(30)]
        for payload in payloads:
            probe.send_in_place(transport, BINARY, payload)
        for payload in payloads:
            assert (await soon(listener.frames.get())).get_payload_as_bytes() == payload
        transport.disconnect()
        await soon(transport.wait_disconnected())


async def test_arguments(plain, probe):
    listener = Recorder()
    async with plain.serve(lambda request: Recorder()):
        transport, _ = await plain.connect(lambda: listener)
        sends = {"send": probe.send, "send_in_place": probe.send_in_place}
        for name, send in sends.items():
            for arguments, text in [
                ((CLOSE, b""), "CLOSE is sent by send_close()"),
                ((3, b""), "opcode"),
                ((0xFFFF, b""), "opcode"),
                ((PING, bytes(126)), "125"),
                ((PING, b"", 0), "fragment"),
                ((CONTINUATION, b""), ""),
            ]:
                with row((name, arguments)), pytest.raises(ValueError, match=text[:20] or None):
                    send(transport, *arguments)
        with pytest.raises(ValueError, match=r"send\(\) was given no memory with 5 bytes"):
            probe.send(transport, TEXT, None, 1, 5)
        with pytest.raises(ValueError, match="was given no memory"):
            probe.send(transport, TEXT, b"x", 1, -2)  # SIZE_MAX bytes
        with pytest.raises(ValueError, match="buffer cannot be None"):
            probe.send_in_place(transport, TEXT, None)
        for code, reason in [(999, b""), (1005, b""), (5000, b""), (1000, bytes(124))]:
            with row(code), pytest.raises(ValueError):
                probe.send_close(transport, code, reason)
        with pytest.raises(ValueError):
            probe.send_close(transport, 1000, b"\xff")
        with pytest.raises(ValueError):
            probe.send_close(transport, 0, b"a reason needs a code")
        with pytest.raises(ValueError, match=r"send_close\(\) was given no memory"):
            probe.send_close(transport, 1000, None, 5)
        assert transport.stats.frames_sent == 0
        probe.send(transport, TEXT, None)
        probe.send_close(transport, 0, None)
        await soon(transport.wait_disconnected())
    assert transport.stats.frames_sent == 2
    assert transport.close_handshake.sent.code is WSCloseCode.NO_INFO


async def test_wrong_types(plain, probe):
    kept: list[Any] = []
    async with plain.serve(lambda request: probe.listener("keep", kept)):
        transport, listener = await plain.connect(Recorder)
        transport.send(WSMsgType.TEXT, "x")
        transport.send_close()
        await soon(transport.wait_disconnected())
    frame = kept[0]
    assert probe.kinds(transport) == (1, 0)
    assert probe.kinds(frame) == (0, 1)
    for wrong in [..., None, 1, b"", object(), type, _core.WSTransport, listener, [frame]]:
        with row(wrong):
            assert probe.kinds(wrong) == (0, 0)
    for wrong in [..., None, b"", object(), transport]:
        with row(wrong), pytest.raises(TypeError, match=r"frame_get\(\) takes a WSFrame, not "):
            probe.frame_get(wrong)
    for wrong in [..., None, b"", object(), frame]:
        for name in ("send", "send_in_place"):
            with row(wrong), pytest.raises(TypeError, match=rf"{name}\(\) takes a WSTransport"):
                getattr(probe, name)(wrong, TEXT, b"x")
        with row(wrong), pytest.raises(TypeError, match=r"send_close\(\) takes a WSTransport"):
            probe.send_close(wrong, 1000)
    with pytest.raises(TypeError, match="not NULL"):
        probe.send(..., TEXT, b"x")
    for wrong in [..., None, object(), WSListener, transport]:
        with row(wrong), pytest.raises(TypeError, match=r"listener_bind\(\) takes a WSListener"):
            probe.bind(wrong, "count")


async def test_nothing_is_sent_on_closed_transports(plain, probe):
    async with plain.serve(lambda request: Recorder()):
        transport, _ = await plain.connect(Recorder)
        transport.disconnect()
        await soon(transport.wait_disconnected())
    sent = transport.stats.frames_sent
    blank = _core.WSTransport.__new__(_core.WSTransport)
    for closed in (transport, blank):
        probe.send(closed, TEXT, b"x")
        assert probe.send_in_place(closed, TEXT, b"x") == b"." * HEADROOM + b"x"
        probe.send_close(closed, 1000, b"late")
    assert transport.stats.frames_sent == sent


async def test_other_threads_are_refused(plain, probe):
    errors: list[Exception] = []
    async with plain.serve(lambda request: Recorder()):
        transport, _ = await plain.connect(Recorder)

        def send() -> None:
            for call in (
                lambda: probe.send(transport, TEXT, b"x"),
                lambda: probe.send_in_place(transport, TEXT, b"x"),
                lambda: probe.send_close(transport, 1000),
            ):
                try:
                    call()
                except Exception as error:
                    errors.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
        assert transport.stats.frames_sent == 0
        transport.disconnect()
        await soon(transport.wait_disconnected())
    assert [type(error) for error in errors] == [RuntimeError] * 3
    assert all("called from a wrong thread" in str(error) for error in errors)


async def test_the_connection_ends_inside_the_callback(net, probe):
    """Whatever is dropped there, the call goes on with what it was given."""
    told = Told()
    after: list[Any] = []

    def end(transport: Any, frame: Any) -> None:
        transport.disconnect(False)
        told._c_callbacks = None
        probe.send(transport, TEXT, b"late")
        gc.collect()
        after.append(frame.get_payload_as_bytes())

    probe.bind(told, "call", end)
    del end
    async with net.serve(lambda request: told):
        transport, _ = await net.connect(Recorder)
        with transport.cork():
            transport.send(WSMsgType.BINARY, pattern(3000))
            transport.send(WSMsgType.BINARY, b"never seen")
        await soon(transport.wait_disconnected())
    assert after == [pattern(3000)]
    assert told.errors == []


# ---- listeners ----


async def test_functions_beside_methods(plain, probe):
    """What has no C function stays the listener's own method."""
    told, kept = Told(), []
    probe.bind(told, "keep", kept)
    async with plain.serve(lambda request: told):
        transport, _ = await plain.connect(Recorder)
        transport.send(WSMsgType.TEXT, "x")
        transport.send_close(WSCloseCode.OK)
        await soon(transport.wait_disconnected())
    assert told.events == ["connected", "disconnected"]
    assert told.frames == []
    assert [bytes(frame) for frame in kept] == [b"x", b"\x03\xe8"]


async def test_older_callbacks(plain, probe):
    """A struct that ends early has no functions behind its end."""
    kept: list[Any] = []
    async with plain.serve(lambda request: probe.listener("short", kept)):
        transport, _ = await plain.connect(Recorder)
        transport.send(WSMsgType.TEXT, "x")
        transport.send_close(WSCloseCode.OK)
        await soon(transport.wait_disconnected())
    assert [bytes(frame) for frame in kept] == [b"x", b"\x03\xe8"]


def test_callbacks_are_checked(probe):
    for kind, text in [
        ("none", "callbacks->on_frame is missing"),
        ("unsized", "sizeof"),
        ("odd", "sizeof"),  # half of a function would be called
        ("oversized", "sizeof"),
        ("null", "sizeof"),
    ]:
        with row(kind), pytest.raises(ValueError, match=text):
            probe.listener(kind)
    listener = WSListener()
    probe.bind(listener, "count")
    with pytest.raises(ValueError, match="the listener has callbacks already"):
        probe.bind(listener, "count")
    assert WSListener._c_callbacks is None


def test_callbacks_in_python(probe):
    """Their methods can be called by anybody."""
    kept: list[Any] = []
    listener = probe.listener("keep all", kept)
    callbacks = listener._c_callbacks
    blank = _core.WSTransport.__new__(_core.WSTransport)
    listener.on_ws_connected(blank)
    callbacks.on_ws_disconnected(blank)
    assert kept == [blank, blank]
    probe.listener("count")._c_callbacks.on_ws_connected(blank)
    with pytest.raises(TypeError, match="takes a WSTransport, not int"):
        callbacks.on_ws_connected(5)
    with pytest.raises(TypeError, match="cannot be created"):
        type(callbacks)()
    listener._c_callbacks = "no callbacks"
    assert listener._c_callbacks == "no callbacks"


class Owner(list):  # type: ignore[type-arg]
    """A context that can be watched."""


async def test_owner_lives_as_long_as_it_is_needed(plain, probe):
    owner = Owner()
    gone = weakref.ref(owner)
    async with plain.serve(lambda request: Recorder()) as server:
        listeners = [probe.listener("keep", owner)]
        transport, listener = await plain.connect(listeners.pop)
        del owner, listener
        gc.collect()
        assert gone() == []
        server.abort_clients()
        await soon(transport.wait_disconnected())
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None


def test_owner_may_own_the_listener(probe):
    owner = Owner()
    owner.append(probe.listener("keep all", owner))
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


# ---- versions, interpreters, languages ----


def test_versions(probe):
    probe.check(probe.VERSION, 0)
    for version in (probe.VERSION - 1, probe.VERSION + 1):
        with pytest.raises(ImportError, match=rf"has version {version} of its C API.*compile it"):
            probe.check(version, 0)
    with pytest.raises(ImportError, match=r"older than the one.*install a newer picows_c"):
        probe.check(probe.VERSION, 8)


async def test_cplusplus(plain, need, compiled):
    need("a C++ compiler", has_compiler("CXX", "c++"))
    probe = compiled("probe", ROOT / "tests/c_api", PROBE_LANGUAGE="c++")
    kept: list[Any] = []
    async with plain.serve(lambda request: probe.listener("keep", kept)):
        transport, _ = await plain.connect(Recorder)
        probe.send(transport, TEXT, b"from C++")
        probe.send_in_place(transport, BINARY, b"in place")
        probe.send_close(transport, 1000)
        await soon(transport.wait_disconnected())
    assert [probe.frame_get(frame)[5] for frame in kept] == [
        b"from C++", b"in place", b"\x03\xe8"
    ]  # fmt: skip


def test_sub_interpreters(compiled, c_listener):
    """Each has its own module, its own listeners, and the one table."""
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "isolated/c_api.py", c_listener.__file__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "main: 3\nsub: 3\nmain: 3\n", done.stderr
