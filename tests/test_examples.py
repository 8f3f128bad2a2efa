"""Each example runs as its text says; the other end is another implementation where it can be."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import http.client
import http.server
import importlib.util
import json
import re
import signal
import socket
import sys
import threading

import programs
import pytest
from programs import EXAMPLES, PATIENCE, example, lasting_port

from picows_c import WSListener, WSMsgType

signals = pytest.mark.skipif(
    sys.platform == "win32", reason="asyncio takes no signals on Windows; they end these programs"
)


@pytest.fixture(autouse=True)
def websockets_is_there(need):
    need("websockets", importlib.util.find_spec("websockets"))


def connect(address, path="/", **options):
    """Connect with another implementation."""
    from websockets.sync.client import connect as connect_to

    options = {"open_timeout": PATIENCE, "close_timeout": PATIENCE, "proxy": None, **options}
    return connect_to(f"ws://{address[0]}:{address[1]}{path}", **options)


def hear(client):
    return client.recv(timeout=PATIENCE)


def gone(client):
    """Wait for the peer's CLOSE and return its code and reason."""
    from websockets.exceptions import ConnectionClosed

    with pytest.raises(ConnectionClosed) as caught:
        hear(client)
    return caught.value.rcvd.code, caught.value.rcvd.reason


def get(address, path):
    """Ask for a page; return status, headers and body."""
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def say(*arguments):
    with example("say.py", *arguments) as client:
        return client.end()


def test_echo():
    with example("echo.py", "--port", 0) as server:
        host, port = server.address()
        assert say(f"ws://{host}:{port}/", "Grüße 🐄") == (0, "Grüße 🐄\n")
        with connect((host, port)) as client:
            for message in ("text", b"binary", bytes(1 << 20)):
                client.send(message)
                assert hear(client) == message
            client.send(["in ", "fragments"])
            assert hear(client) == "in fragments"


def test_echo_over_tls(certificates, tmp_path):
    pytest.importorskip("trustme")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    issued = certificates.authority.issue_cert("127.0.0.1")
    certificates.authority.cert_pem.write_to_path(paths["ca"])
    issued.private_key_pem.write_to_path(paths["key"])
    for blob in issued.cert_chain_pems:
        blob.write_to_path(paths["cert"], append=True)
    with example("echo.py", "--port", 0, "--cert", paths["cert"], "--key", paths["key"]) as server:
        host, port = server.address()
        url = f"wss://{host}:{port}/"
        assert say(url, "secret", "--ca", paths["ca"]) == (0, "secret\n")
        status, text = say(url, "secret")
        assert status == 1
        assert "CERTIFICATE_VERIFY_FAILED" in text


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets on Windows")
def test_echo_on_a_unix_socket(tmp_path):
    path = tmp_path / "echo.sock"
    with example("echo.py", "--unix", path) as server:
        assert server.address() == str(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert say("ws://localhost/", "near", "--unix", path) == (0, "near\n")


def test_broadcast():
    with example("broadcast.py", "--port", 0) as server:
        address = server.address()
        status, headers, page = get(address, "/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert page == (EXAMPLES / "broadcast.html").read_bytes()
        assert get(address, "/nowhere")[0] == 404
        with connect(address, "/room") as one:
            assert hear(one) == "1 in the room"
            with connect(address, "/room") as two:
                assert hear(one) == hear(two) == "2 in the room"
                two.send("hello")
                assert hear(one) == hear(two) == "hello"
            assert hear(one) == "1 in the room"


@signals
async def test_market_data(net, pem_files, monkeypatch):
    """What came while the program slept: the last quote is acted on, most others are not."""
    total = 2000
    # The program trusts what the system does.
    monkeypatch.setitem(programs.ENVIRONMENT, "SSL_CERT_FILE", str(pem_files / "ca.pem"))
    connected = asyncio.get_running_loop().create_future()

    class Market(WSListener):
        def on_ws_connected(self, transport):
            connected.set_result(transport)

    loop = asyncio.get_running_loop()
    async with net.serve(lambda request: Market()):
        with example("market_data.py", net.url("/quotes")) as client:
            transport = await connected
            client.process.send_signal(signal.SIGSTOP)
            # Each is a call to the system, and a record of TLS.
            for number in range(total):
                transport.send(WSMsgType.TEXT, f"EURUSD {number}")
            transport.send_close()
            client.process.send_signal(signal.SIGCONT)
            status, text = await loop.run_in_executor(None, client.end)
    *latest, summary = text.splitlines()
    assert status == 0
    handled, received = map(int, re.fullmatch(r"handled (\d+) of (\d+)", summary).groups())
    assert received == total
    assert handled == len(latest) < total // 10
    assert latest[-1] == f"latest EURUSD {total - 1}"


@signals
def test_reconnecting():
    """The server ends and comes back; at last it says that this will never be."""
    with contextlib.ExitStack() as stack:
        port = lasting_port()
        server = stack.enter_context(example("graceful_shutdown.py", "--port", port))
        server.address()
        url = f"ws://127.0.0.1:{port}/"
        client = stack.enter_context(
            example("reconnecting.py", url, "--initial", 0.05, "--maximum", 0.2)
        )
        client.skip_to("connected")
        client.skip_to("heard subscribe")
        server.stop()
        client.skip_to("lost: PEER_CLOSE")
        client.skip_to("no connection")
        again = stack.enter_context(example("graceful_shutdown.py", "--port", port))
        again.address()
        client.skip_to("connected")
        client.skip_to("heard subscribe")
        again.stop(signal.SIGKILL)
        client.skip_to("lost: ")
        stack.enter_context(refusing(port, [503, 429, 403]))
        status, text = client.end()
        assert status == 1
        assert "giving up" in text
        assert "403" in text


@contextlib.contextmanager
def refusing(port, statuses):
    """Answer requests with these statuses, one after the other."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.send_header("Retry-After", email.utils.formatdate(0, usegmt=True))
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
    assert statuses == []


@signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_graceful_shutdown(number):
    with example("graceful_shutdown.py", "--port", 0) as server:
        address = server.address()
        with connect(address) as one, connect(address) as two:
            one.send("x")
            assert hear(one) == "x"
            server.process.send_signal(number)
            server.expect("closing 2 connections")
            assert gone(one) == gone(two) == (1001, "restart")
        assert server.end() == (0, "0 did not answer\n")


def numbers(address, path):
    """Read everything that /all or /latest of backpressure.py sends."""
    from websockets.exceptions import ConnectionClosed

    got = []
    with connect(address, path) as client, contextlib.suppress(ConnectionClosed):
        while True:
            got.append(int.from_bytes(hear(client)[:8], "big"))
    return got


def test_backpressure():
    total, limit = 20_000, 100_000
    with example("backpressure.py", "--port", 0, "--total", total, "--limit", limit) as server:
        address = server.address()
        assert numbers(address, "/all") == list(range(total))
        dropped, most = report(server)
        assert dropped == 0
        assert most <= limit
        # Nobody reads until all has been sent.
        with socket.create_connection(address) as slow:
            slow.sendall(
                b"GET /latest HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            dropped, most = report(server)
        assert dropped > total // 10
        assert most <= limit


def report(server):
    line = server.skip_to("bytes waited")
    found = re.fullmatch(r"(\d+) dropped, at most (\d+) bytes waited", line)
    assert found, line
    return map(int, found.groups())


def test_subprotocols():
    with example("subprotocols.py", "--port", 0) as server:
        address = server.address()
        with connect(address, subprotocols=["text.add", "json.add"]) as client:
            assert client.subprotocol == "json.add"
            client.send('{"numbers": [1, 2, 3]}')
            assert json.loads(hear(client)) == {"sum": 6}
        with connect(address, subprotocols=["unknown", "text.add"]) as client:
            assert client.subprotocol == "text.add"
            client.send("4 5 6")
            assert hear(client) == "15"
        with connect(address) as client:
            assert gone(client) == (1002, "json.add or text.add, please")


def test_msgspec(need):
    need("msgspec", importlib.util.find_spec("msgspec"))
    with example("msgspec_orders.py", "--port", 0) as server:
        address = server.address()
        with connect(address) as client:
            for number in (1, 123456789):
                order = {"id": number, "price": 2.5, "quantity": 4, "note": "x" * 300}
                client.send(json.dumps(order))
                assert json.loads(hear(client)) == {"id": number, "value": 10.0}
            client.send('{"id": "one"}')
            code, reason = gone(client)
            assert code == 1003
            assert "id" in reason


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux spreads connections over the sockets of a port"
)
def test_threads():
    with example("threads.py", "--port", 0, "--threads", 3) as server:
        address = server.address()
        with contextlib.ExitStack() as stack:
            # That all of them meet the same thread has a chance of 1 in 3 ** 39.
            clients = [stack.enter_context(connect(address)) for _ in range(40)]
            names = []
            for client in clients:
                client.send("who?")
                names.append(hear(client))
            assert 2 <= len(set(names)) <= 3
            assert set(names) <= {"loop-0", "loop-1", "loop-2"}
            server.process.send_signal(signal.SIGTERM)
            assert {gone(client)[0] for client in clients} == {1001}
        assert server.end() == (0, "")


def test_health():
    with example("health.py", "--port", 0, "--most", 2) as server:
        address = server.address()
        with connect(address, "/echo"):
            status, headers, body = get(address, "/health")
            assert (status, headers["Content-Type"]) == (200, "application/json")
            assert json.loads(body)["open"] == 1
            with connect(address, "/echo") as client:
                client.send("x")
                assert hear(client) == "x"
                status, _, body = get(address, "/health")
                assert (status, json.loads(body)["open"]) == (503, 2)
        assert get(address, "/else")[0] == 404


# ---- all of them ----


def test_every_example_is_tested():
    files = [
        *EXAMPLES.parent.glob("tests/test_examples*.py"),
        EXAMPLES.parent / "tests/test_c_api.py",
    ]
    tests = "".join(path.read_text() for path in files)
    for path in EXAMPLES.rglob("*.*"):
        # demo.py is `make demo`.
        if path.suffix in (".py", ".html", ".conf", ".service") and path.name != "demo.py":
            assert path.name in tests, path
