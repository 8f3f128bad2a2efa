"""``python -m picows_c`` as a process: what it sends, shows and returns."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import accept_for, frame_bytes, xor

import picows_c
from picows_c import WSMsgType
from picows_c.cli.bench import Latencies
from picows_c.cli.talk import preview

INSTALLED = Path(picows_c.__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(INSTALLED), "PYTHONUTF8": "1", "COLUMNS": "100"}
COMMAND = [sys.executable, "-m", "picows_c"]
# Far beyond what a slow machine needs: it only ends what hangs.
LIMIT = 120.0

posix = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")


class Program:
    """A command that runs, its lines as they come; it is stopped by its handle."""

    def __init__(self, *arguments: str, stdin: Any = subprocess.DEVNULL) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd=INSTALLED,  # -m looks there first
            encoding="utf-8",
        )
        self._watchdog = threading.Timer(LIMIT, self.process.kill)
        self._watchdog.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._watchdog.cancel()
        with self.process:  # closes the pipes, and waits
            pass

    def line(self, pattern: str, stream: str = "stdout") -> re.Match[str]:
        """Read lines until one matches."""
        pipe = getattr(self.process, stream)
        seen = []
        for line in pipe:
            seen.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        self.process.kill()
        rest = self.process.communicate(timeout=LIMIT)
        raise AssertionError(f"no {pattern!r} in {''.join(seen)}; {rest}")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, output, errors."""
        out, err = self.process.communicate(timeout=LIMIT)
        assert "Traceback" not in err, err
        return self.process.returncode, out, err


def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
    """Run a command with these lines as its input."""
    with Program(*arguments, stdin=subprocess.PIPE) as program:
        out, err = program.process.communicate(text, timeout=LIMIT)
        assert "Traceback" not in err, err
        return program.process.returncode, out, err


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[tuple[Program, str]]:
    """Run ``serve`` and say what to connect to."""
    with Program("serve", "--port", "0", *arguments) as program:
        yield program, program.line(r"listening on (\S+)")[1]


def read_request(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    return head


def agree(sock: socket.socket, head: bytes) -> None:
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)[1]
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept_for(key.decode()).encode()
        + b"\r\n\r\n"
    )


@contextlib.contextmanager
def answering(*parts: bytes, upgrade: bool = True) -> Iterator[tuple[str, list[bytes]]]:
    """Accept one connection, read its request head, send bytes and close; no WebSocket of ours.

    Says what to connect to; the head is added to the list, and what came behind it.
    """
    heads: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            with sock:
                heads.append(read_request(sock))
                if upgrade:
                    agree(sock, heads[0])
                for part in parts:
                    sock.sendall(part)
                sock.shutdown(socket.SHUT_WR)
                rest = b""
                while data := sock.recv(4096):
                    rest += data
                heads.append(rest)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/", heads
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT)


# ---- the client ----


def test_lines_are_sent_and_answers_shown():
    with serving() as (_, url):
        code, out, err = run(url, text="hello\nw\u00f6rld\n\nlast, without an end")
    assert (code, err) == (0, "")
    lines = [re.sub(r" +", " ", line.partition("  ")[2].lstrip()) for line in out.splitlines()]
    lines = [re.sub(r"^[\d.]+ ", "", line) for line in lines]
    assert lines[0] == "* connected"
    for sign in "><":
        assert f"{sign} TEXT 5 bytes 'hello'" in lines
        assert f"{sign} TEXT 6 bytes 'w\u00f6rld'" in lines
        assert f"{sign} TEXT 0 bytes" in lines
        assert f"{sign} TEXT 20 bytes 'last, without an end'" in lines
        assert f"{sign} CLOSE 1000 OK" in lines
    assert lines[-1] == "* closed by us: 1000 OK"
    # What comes in is in order, and each line has its time.
    assert [line for line in lines if line.startswith("<")] == [
        line.replace(">", "<", 1) for line in lines if line.startswith(">")
    ]
    times = [float(line.split()[0]) for line in out.splitlines()]
    assert times == sorted(times)


def test_slash_commands():
    text = "//slash\n/hex 00 ff\n/ping\n/ping abc\n/hex zz\n/close 4000 enough\n"
    with serving() as (server, url):
        # The input does not end before the connection does.
        with Program("--slash", "--keep-open", url, stdin=subprocess.PIPE) as client:
            client.process.stdin.write(text)
            client.process.stdin.flush()
            out = client.process.stdout.read()
            assert client.process.wait(LIMIT) == 1  # 4000 is no ordinary end
        server.line(r"ended: by the peer: 4000 CODE_4000 'enough'; 2 messages", "stderr")
    assert re.search(r"<  TEXT +6 bytes  '/slash'", out)
    assert re.search(r"<  BINARY +2 bytes  00 ff", out)
    assert re.search(r">  PING +3 bytes  'abc'", out)
    assert re.search(r"not sent: non-hexadecimal", out)
    assert re.search(r">  CLOSE  4000 CODE_4000  'enough'", out)


def test_round_trips_are_shown():
    with serving() as (_, url), Program("--ping", "0.01", "--keep-open", url) as client:
        for _ in range(3):
            client.line(r"<  PONG   round trip \d+\.\d{3} ms")


@posix
def test_interrupt_closes():
    with serving() as (server, url), Program("--keep-open", url) as client:
        client.line(r"connected")
        client.interrupt()
        code, out, err = client.end()
        server.line(r"closed by the peer: 1000 OK", "stderr")
    assert (code, err) == (0, "")
    assert "<  CLOSE  1000 OK" in out


@posix
def test_interrupt_while_connecting():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with Program(f"ws://127.0.0.1:{listener.getsockname()[1]}/") as client:
            sock, _ = listener.accept()  # it waits for an answer now
            with sock:
                sock.recv(1)
                client.interrupt()
                code, out, err = client.end()
    assert (code, out, err) == (130, "", "interrupted\n")


def test_request_is_what_the_options_say():
    with answering(b"", upgrade=False) as (url, heads):
        options = ["-H", "X-One: 1", "--header", "X-Two:2", "-s", "v2", "-s", "v1", "-z"]
        options += ["--origin", "https://example.org", "--user-agent", "me", "--loop", "asyncio"]
        code, _, err = run(*options, url)
    assert code == 1
    assert "closed the connection" in err
    head = heads[0].decode().lower()
    for header in ("x-one: 1", "x-two: 2", "sec-websocket-protocol: v2, v1", "user-agent: me"):
        assert f"\r\n{header}\r\n" in head
    assert "\r\norigin: https://example.org\r\n" in head
    assert "\r\nsec-websocket-extensions: permessage-deflate" in head


def test_what_was_agreed_on_is_shown():
    with serving("-s", "v1", "-z") as (_, url):
        code, out, _ = run("-s", "v2", "-s", "v1", "-z", url, text="x" * 5000)
    assert code == 0
    assert re.search(r"connected; subprotocol v1; permessage-deflate", out)
    assert re.search(r"<  TEXT +5,000 bytes  '" + "x" * 200 + r"' \.\.\.\n", out)


def test_frames_one_by_one():
    frames = frame_bytes(1, b"one", fin=False) + frame_bytes(0, b"two") + frame_bytes(9, b"p")
    with answering(frames, frame_bytes(8, b"\x03\xe8")) as (url, received):
        code, out, _ = run("--frames", "--keep-open", url)
    assert code == 0
    first, length, *masked = received[1][:7]
    assert (first, length) == (0x8A, 0x81)
    assert masked[0] ^ masked[4] == ord("p")
    assert re.search(r"<  TEXT +3 bytes, more to come  'one'", out)
    assert re.search(r"<  CONTINUATION +3 bytes  ", out)
    assert re.search(r"<  PING +1 byte  'p'", out)
    assert re.search(r">  PONG +1 byte  'p'", out)
    assert "closed by the peer: 1000 OK" in out


def test_terminals_are_not_told_what_to_do():
    evil = "\x1b]0;title\x07\u202etxt\x9b2J"
    with answering(frame_bytes(1, evil.encode()), frame_bytes(8)) as (url, _):
        code, out, _ = run("--keep-open", url)
    assert code == 0
    assert r"'\x1b]0;title\x07\u202etxt\x9b2J'" in out
    assert not set("\x1b\x07\x9b\u202e") & set(out)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "ended: the peer ended the byte stream without a CLOSE"),
        (frame_bytes(3, b""), "ended: the peer broke the protocol: 1002 PROTOCOL_ERROR"),
        (frame_bytes(1, b"\xff"), "ended: the peer broke the protocol: 1007 INVALID_TEXT"),
        (frame_bytes(8, b"\x03\xf3late"), "ended: by the peer: 1011 INTERNAL_ERROR 'late'"),
    ],
)
def test_bad_ends_are_told(data, shown):
    with answering(data) as (url, _):
        code, out, _ = run("--keep-open", url)
    assert code == 1
    assert shown in out


@posix
def test_reader_that_goes_away():
    """As in ``python -m picows_c URL | head -1``."""
    with serving() as (_, url), Program(url, stdin=subprocess.PIPE) as client:
        client.line(r"connected")
        client.process.stdout.close()
        client.process.stdout = None
        with contextlib.suppress(BrokenPipeError):
            for _ in range(100):
                client.process.stdin.write("x\n")
                client.process.stdin.flush()
            client.process.stdin.close()
        client.process.stdin = None
        code, _, err = client.end()
    assert (code, err) == (1, "")


@posix
@pytest.mark.parametrize("command", [["bench", "-q", "--count", "10"], ["serve", "--port", "0"]])
def test_reader_of_another_command_that_goes_away(command):
    with serving() as (_, url):
        arguments = [*command, url] if command[0] == "bench" else command
        with Program(*arguments, stdin=subprocess.PIPE) as program:
            program.process.stdout.close()
            program.process.stdout = None
            code, _, err = program.end()
    assert (code, err) == (1, "")


# ---- what goes wrong ----


def refused() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{sock.getsockname()[1]}/"


@pytest.mark.parametrize("command", [[], ["bench"]], ids=["client", "bench"])
def test_refused(command):
    url = refused()
    code, out, err = run(*command, url)
    assert (code, out) == (1, "")
    assert err == f"error: {url}: connection refused: nothing listens there\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["http://127.0.0.1/"], "scheme isn't ws or wss"),
        (["ws://127.0.0.1:99999/"], "isn't a valid URL"),
        ([], "required: URL"),
        (["-H", "no colon", "ws://127.0.0.1/"], "a header is 'Name: value'"),
        (["-H", "X: a\rb", "ws://127.0.0.1/"], "header"),
        (["-s", "a b", "ws://127.0.0.1/"], "subprotocol"),
        (["--open-timeout", "-1", "ws://127.0.0.1/"], "open_timeout"),
        (["--ping", "0", "ws://127.0.0.1/"], "--ping"),
        (["--frames", "-z", "ws://127.0.0.1/"], "--frames"),
        (["--ca", "/does/not/exist", "wss://127.0.0.1/"], "/does/not/exist"),
        (["--key", "k", "wss://127.0.0.1/"], "--key needs --cert"),
        (["bench", "--connections", "0", "ws://127.0.0.1/"], "--connections must be above 0"),
        (["bench", "--count", "0", "ws://127.0.0.1/"], "--count"),
        (["bench", "--count", "1", "--seconds", "1", "ws://127.0.0.1/"], "not allowed with"),
        (["serve", "--port", "99999"], "0 to 65535"),
        (["serve", "--key", "k"], "--key needs --cert"),
        (["serve", "--cert", "/does/not/exist"], "/does/not/exist"),
        (["serve", "-s", "a b"], "subprotocol"),
    ],
)
def test_wrong_command_lines(arguments, told):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert told in err


def test_other_status():
    body = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nno cookie\n"
    with answering(body, upgrade=False) as (url, _):
        code, out, err = run(url)
    assert (code, out) == (1, "")
    assert err.startswith("error: the server answered 403 Forbidden, not 101 Switching Protocols")


def test_no_http():
    with answering(b"SSH-2.0-server\r\n\r\n", upgrade=False) as (url, _):
        code, _, err = run(url)
    assert code == 1
    assert err.startswith(f"error: {url}: malformed upgrade response")


def test_silence():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        code, _, err = run("--open-timeout", "0.1", url)
    assert (code, err) == (1, f"error: {url}: no answer in time; --open-timeout sets the limit\n")


def test_port_in_use():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        code, out, err = run("serve", "--port", port)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")


# ---- TLS ----


@pytest.fixture
def pem(certificates, need, tmp_path) -> tuple[str, str]:
    """The files of a certificate with its key, and of its authority."""
    need("trustme", importlib.util.find_spec("trustme"))
    own, authority = tmp_path / "own.pem", tmp_path / "authority.pem"
    certificates._cert.private_key_and_cert_chain_pem.write_to_path(str(own))
    certificates.authority.cert_pem.write_to_path(str(authority))
    return str(own), str(authority)


def test_certificates(pem):
    own, authority = pem
    with serving("--cert", own) as (_, url):
        assert url.startswith("wss://")
        code, out, err = run(url)
        assert (code, out) == (1, "")
        assert "the certificate is not accepted" in err
        assert "--insecure" in err
        for options in (["--insecure"], ["--ca", authority]):
            code, out, err = run(*options, url, text="secret")
            assert (code, err) == (0, "")
            assert re.search(r"<  TEXT +6 bytes  'secret'", out)
        # Plain where TLS is spoken: no answer that could be understood.
        code, _, err = run(url.replace("wss", "ws"), text="secret")
        assert code == 1
        assert err.startswith("error: ")


def test_tls_where_there_is_none():
    with serving() as (_, url):
        code, _, err = run(url.replace("ws:", "wss:"))
    assert code == 1
    assert err.startswith("error: ")


# ---- the server ----


@posix
def test_interrupted_server_says_goodbye():
    with serving() as (server, url), Program("--keep-open", url) as client:
        client.line(r"connected")
        server.interrupt()
        code, out, err = server.end()
        assert code == 0
        assert out == "stopped; connections closed: 1, without an answer: 0\n"
        assert re.search(r"^127\.0\.0\.1:\d+ connected$", err, re.MULTILINE)
        code, out, _ = client.end()
    assert code == 0
    assert "<  CLOSE  1001 GOING_AWAY  'shutdown'" in out


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets")
@posix
def test_unix_socket(tmp_path):
    path = str(tmp_path / "s")
    with serving("--unix", path, "--quiet") as (server, shown):
        assert shown == path
        code, out, _ = run("--unix", path, "ws://localhost/", text="local")
        assert code == 0
        assert re.search(r"<  TEXT +5 bytes  'local'", out)
        server.interrupt()
        code, _, err = server.end()
    assert (code, err) == (0, "")
    assert not os.path.exists(path)


# ---- the benchmark ----


def test_bench_counts(tmp_path):
    with serving("-q") as (_, url):
        options = ["-c", "3", "--in-flight", "4", "--count", "500", "--size", "100", "--text"]
        code, out, err = run("bench", *options, "--json", "-q", url)
    assert (code, err) == (0, "")
    figures = json.loads(out)
    assert figures["messages"] == 500
    assert figures["kind"] == "TEXT"
    latency = figures["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert latency["mean"] <= latency["max"]
    assert figures["messages_per_second"] == pytest.approx(500 / figures["seconds"])


def test_bench_fewer_messages_than_connections():
    with serving("-q") as (_, url):
        code, out, _ = run("bench", "-c", "3", "--count", "2", "--json", "-q", url)
    assert code == 0
    assert json.loads(out)["messages"] == 2


def test_bench_connections_that_open_in_another_order():
    """The answer to the one message is awaited where it was sent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(LIMIT)
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        options = ["-c", "2", "--count", "1", "--size", "4", "--json", "-q"]
        with Program("bench", *options, url) as bench:
            socks = [listener.accept()[0] for _ in range(2)]
            heads = [read_request(sock) for sock in socks]
            agree(socks[1], heads[1])
            # It is open when it answers.
            socks[1].sendall(frame_bytes(9))
            assert socks[1].recv(6)[0] == 0x8A
            agree(socks[0], heads[0])
            sock = select.select(socks, [], [], LIMIT)[0][0]
            frame = sock.recv(10)
            sock.sendall(frame_bytes(frame[0] & 0xF, xor(frame[6:], frame[2:6])))
            for sock in socks:
                sock.recv(100)  # CLOSE
                sock.close()
            code, out, err = bench.end()
    assert (code, err) == (0, "")
    assert json.loads(out)["messages"] == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_bench_for_a_time_and_shows_progress(loop, need):
    if loop == "uvloop":
        need("uvloop", importlib.util.find_spec("uvloop"))
    with serving("-q", "-z", "--loop", loop) as (_, url):
        code, out, err = run("bench", "-z", "--seconds", "1.5", "--loop", loop, url)
    assert code == 0
    assert re.search(r"^ +\d+ s +[\d,]+ messages$", err, re.MULTILINE)
    assert out.startswith(f"connections: 1, in flight on each: 1; 256 bytes BINARY, {loop}\n")
    assert re.search(r"^messages  [\d,]+ in \d", out, re.MULTILINE)
    assert re.search(r"^latency   mean .*p50 .*p99\.9 .*max [\d,.]+ us$", out, re.MULTILINE)
    assert re.search(r"^CPU       \d+ % here", out, re.MULTILINE)


def test_bench_wants_an_echo():
    with answering(frame_bytes(2, b"something else")) as (url, _):
        code, out, err = run("bench", "-q", url)
    assert (code, out) == (1, "")
    assert "does not echo" in err or "ended before its time" in err


@posix
def test_interrupted_bench_prints_what_it_has():
    with serving("-q") as (_, url), Program("bench", "--seconds", "600", "--json", url) as bench:
        bench.line(r"\d messages", "stderr")
        bench.interrupt()
        code, out, _ = bench.end()
    assert code == 130
    assert json.loads(out)["messages"] > 0


def test_percentiles():
    latencies = Latencies()
    for microseconds in range(1, 1001):
        latencies.add(microseconds * 1000)
    assert latencies.count == 1000
    for percent in (1, 10, 50, 90, 99, 99.9):
        exact = percent * 10_000
        assert exact <= latencies.percentile(percent) <= exact * (1 + 1 / 128)
    assert latencies.percentile(100) == latencies.max == 1_000_000


# ---- all of them ----


@pytest.mark.parametrize("command", [[], ["serve"], ["bench"]], ids=["client", "serve", "bench"])
def test_help(command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {' '.join(['python -m picows_c', *command])} ")
    assert "--loop {auto,asyncio,uvloop}" in out


def test_every_option_is_documented():
    page = Path(__file__).resolve().parent.parent / "docs/command-line.md"
    text = page.read_text(encoding="utf-8")
    for command in ([], ["serve"], ["bench"]):
        _, out, _ = run(*command, "--help")
        for option in re.findall(r"^  +(?:-\w(?: [^,\n]+)?, )?(--[a-z-]+)", out, re.MULTILINE):
            assert f"`{option}" in text, (command, option)


def test_version():
    assert run("--version") == (0, f"picows_c {picows_c.__version__}\n", "")


@pytest.mark.parametrize(
    ("kind", "payload", "full", "shown"),
    [
        (WSMsgType.TEXT, b"it's", False, '"it\'s"'),
        (WSMsgType.TEXT, b"a" * 201, False, repr("a" * 200) + " ..."),
        (WSMsgType.TEXT, b"a" * 201, True, repr("a" * 201)),
        # 200 bytes end within a character of three.
        (WSMsgType.TEXT, "\u20ac".encode() * 100, False, repr("\u20ac" * 66) + " ..."),
        (WSMsgType.TEXT, "a\U0001f600".encode() * 50, False, repr("a\U0001f600" * 40) + " ..."),
        (WSMsgType.TEXT, b"\xff\x00", False, "ff 00"),
        (WSMsgType.BINARY, bytes(33), False, " ".join(["00"] * 32) + " ..."),
        (WSMsgType.PONG, b"abc", False, "'abc'"),
    ],
    ids=["quote", "long", "full", "cut", "not-cut", "no-text", "binary", "pong"],
)
def test_preview(kind, payload, full, shown):
    assert preview(kind, payload, full) == shown
