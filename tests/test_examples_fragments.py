"""Every program that we show is right for peers that send a message in fragments (RFC 6455, 5.4).

Their other end is another implementation, which writes each message in three pieces.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import sys
import threading

import pytest
from programs import EXAMPLES, PATIENCE, ROOT, Program, example, lasting_port
from test_docs import blocks
from test_examples import connect, hear


@pytest.fixture(autouse=True)
def websockets_is_there(need):
    need("websockets", importlib.util.find_spec("websockets"))


def pieces(message):
    """Cut a message in three."""
    third = len(message) // 3
    return [message[:third], message[third : 2 * third], message[2 * third :]]


def on_another_port(name, folder):
    """Copy a program that has its port written into it; return the copy and its port."""
    if name.startswith("README"):
        client, server = (text for _, text in blocks(ROOT / "README.md"))
        text = client if "client" in name else server
    else:
        text = (EXAMPLES / name).read_text()
    port = lasting_port()
    assert text.count("9001") == 1
    copy = folder / name.replace(" ", "_")
    copy.write_text(text.replace("9001", str(port)))
    return copy, port


# ---- servers ----

TEXT = "one two three \N{COW} four"


def check_echo(address, path="/"):
    with connect(address, path) as client:
        for message in (TEXT, bytes(range(256)) * 300, TEXT):
            client.send(pieces(message))
            assert hear(client) == message


@pytest.mark.parametrize("name", ["echo.py", "graceful_shutdown.py", "health.py"])
def test_echoes_that_take_a_port(name):
    with example(name, "--port", 0) as server:
        check_echo(server.address(), "/echo" if name == "health.py" else "/")


@pytest.mark.parametrize("name", ["echo_server.py", "README server"])
def test_echoes_with_a_port_of_their_own(name, tmp_path):
    script, port = on_another_port(name, tmp_path)
    with Program(sys.executable, script) as server:
        server.wait_for_port(port)
        check_echo(("127.0.0.1", port))


def test_the_echo_beside_other_libraries():
    port = lasting_port()
    with example("coming_from/picows_c_server.py", port) as server:
        server.wait_for_port(port)
        check_echo(("127.0.0.1", port))


@pytest.mark.parametrize("more", [[], ["--compression"]])
def test_the_echo_of_the_command_line(more):
    with Program(sys.executable, "-m", "picows_c", "serve", "--port", 0, *more) as server:
        port = int(re.search(r":(\d+)", server.skip_to("listening on"))[1])
        check_echo(("127.0.0.1", port))


@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
def test_the_echo_behind_nginx(tmp_path):
    from websockets.sync.client import unix_connect

    path = tmp_path / "echo.sock"
    with example("behind_nginx.py", "--unix", path) as server:
        server.address()
        with unix_connect(str(path), open_timeout=PATIENCE) as client:
            assert hear(client).startswith("process ")
            client.send(pieces(TEXT))
            assert hear(client) == TEXT


def test_the_server_of_the_demo():
    with Program(sys.executable, "-c", DEMO_SERVER, EXAMPLES / "demo.py") as server:
        check_echo(("127.0.0.1", int(server.line())), "/echo")


# A process that keeps the standard input of another one open.
DEMO_SERVER = """
import subprocess, sys
with subprocess.Popen(
    [sys.executable, sys.argv[1], "--role", "server"], stdin=subprocess.PIPE
) as server:
    server.wait()
"""


def test_a_room():
    with example("broadcast.py", "--port", 0) as server, contextlib.ExitStack() as stack:
        address = server.address()
        one, two = (stack.enter_context(connect(address, "/room")) for _ in range(2))
        assert [hear(one), hear(one), hear(two)] == ["1 in the room", *["2 in the room"] * 2]
        one.send(pieces(TEXT))
        assert hear(one) == hear(two) == TEXT


def asked(server, question, **options):
    with connect(server.address(), **options) as client:
        client.send(pieces(question))
        return json.loads(hear(client))


def test_servers_that_read_what_they_get(need):
    with example("subprotocols.py", "--port", 0) as server:
        question = '{"numbers": [10, 20, 30]}'
        assert asked(server, question, subprotocols=["json.add"]) == {"sum": 60}
    need("msgspec", importlib.util.find_spec("msgspec"))
    with example("msgspec_orders.py", "--port", 0) as server:
        question = '{"id": 12, "price": 2.5, "quantity": 4}'
        assert asked(server, question) == {"id": 12, "value": 10.0}


# ---- clients ----


@contextlib.contextmanager
def answering(answer, port=0):
    """Serve ``answer(connection)`` by another implementation, in a thread; yield the port."""
    from websockets.sync.server import serve

    with serve(answer, "127.0.0.1", port) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


def echo_in_pieces(connection):
    for message in connection:
        connection.send(pieces(message))


@pytest.mark.parametrize("name", ["echo_client.py", "README client"])
def test_clients_of_an_echo(name, tmp_path):
    script, port = on_another_port(name, tmp_path)
    with answering(echo_in_pieces, port), Program(sys.executable, script) as client:
        assert client.end() == (0, "Echo reply: Hello world\n")


@pytest.mark.parametrize(
    "name", ["say.py", "coming_from/picows_c_client.py", "coming_from/picows_c_inbox.py"]
)
def test_clients_that_take_an_url(name):
    more = ["hello"] if name == "say.py" else []
    with answering(echo_in_pieces) as port:
        client = example(name, f"ws://127.0.0.1:{port}/", *more)
        assert client.end() == (0, "hello\n")


def test_the_client_of_the_demo():
    with answering(echo_in_pieces) as port:
        options = ["--messages", 10, "--role", "client", "--port", port]
        with example("demo.py", *options) as client:
            status, text = client.end()
    assert status == 0
    assert "echo reply 'Hello world'" in text
    assert "10 echoes in" in text


def test_the_client_of_the_command_line():
    def greet(connection):
        connection.send(pieces(TEXT))
        for message in connection:
            connection.send(pieces(message))

    with answering(greet) as port:
        url = f"ws://127.0.0.1:{port}/"
        with Program(sys.executable, "-m", "picows_c", "--keep-open", url) as client:
            assert repr(TEXT) in client.skip_to("TEXT")


def test_market_data():
    def quote(connection):
        for number in range(1000, 1100):
            connection.send(pieces(f"EURUSD {number}"))

    with answering(quote) as port, example("market_data.py", f"ws://127.0.0.1:{port}/") as client:
        status, text = client.end()
    *latest, summary = text.splitlines()
    assert status == 0
    assert re.fullmatch(r"handled \d+ of 100", summary)
    assert all(re.fullmatch(r"latest EURUSD 1\d{3}", line) for line in latest)
    assert latest[-1] == "latest EURUSD 1099"


def test_reconnecting():
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(answering(echo_in_pieces))
        client = stack.enter_context(example("reconnecting.py", f"ws://127.0.0.1:{port}/"))
        assert client.skip_to("heard") == "heard subscribe"
