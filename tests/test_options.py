"""The options of a connection: each check, from both sides, and what becomes of them."""

from __future__ import annotations

import inspect
import logging
import math
import socket
import sys

import pytest
from raw import row

from picows_c import (
    PermessageDeflate,
    WSAutoPingStrategy,
    WSListener,
    ws_connect,
    ws_create_server,
)
from picows_c.options import (
    ConnectionOptions,
    check_count,
    check_size,
    check_socket_options,
    check_timeout,
)

HUGE = sys.maxsize + 1

SIZES = ["max_frame_size", "read_buffer_init_size", "max_message_size", "max_write_buffer_size"]
TIMEOUTS = ["websocket_handshake_timeout", "close_timeout"]
PING_TIMEOUTS = ["auto_ping_idle_timeout", "auto_ping_reply_timeout"]

WRONG = [
    *(
        (TypeError, f"{name} must be int", {name: value})
        for name in SIZES
        for value in (1.5, "1", b"1", [1])
    ),
    *(
        (ValueError, f"{name} must be a positive number of bytes", {name: value})
        for name in SIZES
        for value in (0, -1, HUGE)
    ),
    *((TypeError, f"{name} must be int", {name: None}) for name in SIZES[:3]),
    *(
        (TypeError, f"{name} must be a number or None", {name: value})
        for name in TIMEOUTS
        for value in ("1", [], object())
    ),
    *(
        (ValueError, f"{name} must be positive seconds or None", {name: value})
        for name in TIMEOUTS
        for value in (0, 0.0, -1, math.nan, -math.inf)
    ),
    *(
        (TypeError, f"{name} must be a number, not", {name: value})
        for name in PING_TIMEOUTS
        for value in ("1", None)
    ),
    *(
        (ValueError, f"{name} must be positive seconds, not", {name: value})
        for name in PING_TIMEOUTS
        for value in (0, -1, math.nan)
    ),
    (
        ValueError,
        r"auto_ping_reply_timeout \(3\) must not exceed auto_ping_idle_timeout \(2\)",
        {"enable_auto_ping": True, "auto_ping_idle_timeout": 2, "auto_ping_reply_timeout": 3},
    ),
    *(
        (ValueError, "WSAutoPingStrategy", {"auto_ping_strategy": value})
        for value in (0, 3, "x", None)
    ),
    *(
        (ValueError, "on_write_overflow must be 'disconnect' or 'drop'", {"on_write_overflow": v})
        for v in ("", "DROP", "ignore", None, 1)
    ),
    *(
        (TypeError, "logger_name must be None, str, Logger or LoggerAdapter", {"logger_name": v})
        for v in (5, b"x", logging)
    ),
    *((ValueError, "transport must be", {"transport": v}) for v in ("", "poller", None, 1)),
    (TypeError, "use_aiofastnet must be bool or None", {"use_aiofastnet": 1}),
    (TypeError, "no_such_thing", {"no_such_thing": 1}),
    (TypeError, "ws_listener_factory must be callable", {"ws_listener_factory": None}),
]

SERVERS = [
    *(
        (TypeError, f"{name} must be int or None", {name: value})
        for name in ("max_connections", "max_pending_connections")
        for value in (1.5, "1")
    ),
    *(
        (ValueError, f"{name} must be positive or None", {name: value})
        for name in ("max_connections", "max_pending_connections")
        for value in (0, -1)
    ),
    (TypeError, "backlog must be int", {"backlog": None}),
]

SOCKET_OPTIONS = [
    ("level, option, value", [5]),
    ("level, option, value", ["abc"]),
    ("level, option, value", [(1, 2)]),
    ("level, option, value", [(1, 2, 3, 4)]),
    ("level and option must be int", [("1", 2, 3)]),
    ("level and option must be int", [(1, None, 3)]),
    ("level and option must be int", [(1, 2.0, 3)]),
    ("int or bytes", [(1, 2, "3")]),
    ("int or bytes", [(1, 2, None)]),
    ("int or bytes", [(1, 2, 3), (1, 2, 3.0)]),
]

GOOD = [
    {"max_frame_size": 1},
    {"max_frame_size": sys.maxsize},
    {"read_buffer_init_size": 1},
    {"read_buffer_init_size": sys.maxsize},
    {"max_write_buffer_size": 1},
    {"max_write_buffer_size": None},
    {"websocket_handshake_timeout": None},
    {"websocket_handshake_timeout": math.inf},
    {"close_timeout": None},
    {"close_timeout": 0.001},
    # The reply need only come within the idle time where anybody asks.
    {"auto_ping_idle_timeout": 2, "auto_ping_reply_timeout": 3},
    {"enable_auto_ping": True, "auto_ping_idle_timeout": 2, "auto_ping_reply_timeout": 2},
    {"auto_ping_strategy": WSAutoPingStrategy.PING_PERIODICALLY},
    {"auto_ping_strategy": 2},
    {"on_write_overflow": "drop"},
    {"logger_name": "mine"},
    {"logger_name": logging.getLogger("other")},
    {"logger_name": logging.LoggerAdapter(logging.getLogger("other"), {})},
]


async def connect(**arguments):
    """ws_connect to where nobody listens: what is wrong is said before that matters."""
    arguments.setdefault("ws_listener_factory", WSListener)
    await ws_connect(url=f"ws://127.0.0.1:{CLOSED_PORT}/", **arguments)


async def create(**arguments):
    arguments.setdefault("ws_listener_factory", lambda request: None)
    server = await ws_create_server(host="127.0.0.1", port=0, **arguments)
    server.close()
    await server.wait_closed()


with socket.create_server(("127.0.0.1", 0)) as _sock:
    CLOSED_PORT = _sock.getsockname()[1]


@pytest.mark.parametrize("call", [connect, create])
async def test_wrong_options(way, call):
    for error, match, arguments in WRONG:
        given = {"transport": way, **arguments}
        with row(arguments), pytest.raises(error, match=match):
            await call(**given)


async def test_wrong_options_of_servers(way):
    for error, match, arguments in SERVERS:
        with row(arguments), pytest.raises(error, match=match):
            await create(transport=way, **arguments)


@pytest.mark.parametrize("call", [connect, create])
async def test_wrong_socket_options(way, call):
    for match, options in SOCKET_OPTIONS:
        with row(options), pytest.raises(TypeError, match=match):
            await call(transport=way, socket_options=options)
    with pytest.raises(TypeError):
        await call(transport=way, socket_options=5)


async def test_good_options(way):
    for arguments in GOOD:
        with row(arguments):
            await create(transport=way, **arguments)
            with pytest.raises(ConnectionRefusedError):
                await connect(transport=way, **arguments)


# ---- the checks themselves ----


def test_socket_options():
    for match, options in SOCKET_OPTIONS:
        with row(options), pytest.raises(TypeError, match=match):
            check_socket_options(options)
    assert check_socket_options(()) == ()
    level, option = socket.SOL_SOCKET, socket.SO_KEEPALIVE
    given = [(level, option, True), [1, 2, 3], (1, 2, bytearray(b"ab")), (1, 2, memoryview(b"c"))]
    assert check_socket_options(given) == (
        (level, option, 1),
        (1, 2, 3),
        (1, 2, b"ab"),
        (1, 2, b"c"),
    )


def test_sizes_counts_and_timeouts():
    for good in (1, True, sys.maxsize):
        check_size("n", good)
        check_count("n", good)
        check_timeout("n", good)
    check_count("n", None)
    check_timeout("n", None)
    with pytest.raises(TypeError, match="n must be a number, not NoneType"):
        check_timeout("n", None, can_be_none=False)


def made(side="server", **arguments):
    """Options with ws_create_server's defaults."""
    parameters = inspect.signature(ConnectionOptions.make).parameters
    defaults = inspect.signature(ws_create_server).parameters
    given = {name: defaults[name].default for name in parameters if name != "side"}
    return ConnectionOptions.make(side, **{**given, **arguments})


def test_loggers():
    assert made().logger is logging.getLogger("picows_c.server")
    assert made("client").logger is logging.getLogger("picows_c.client")
    assert made(logger_name="mine").logger is logging.getLogger("picows_c.mine")
    for logger in (logging.getLogger("x"), logging.LoggerAdapter(logging.getLogger("y"), {})):
        assert made(logger_name=logger).logger is logger


def test_what_is_made_of_them():
    options = made(
        websocket_handshake_timeout=1,
        close_timeout=None,
        auto_ping_idle_timeout=3,
        auto_ping_reply_timeout=2,
        auto_ping_strategy=2,
        enable_auto_ping=1,
        enable_auto_pong=0,
        disconnect_on_exception=[],
        max_frame_size=4,
        read_buffer_init_size=5,
        max_write_buffer_size=6,
        on_write_overflow="drop",
        assemble_messages=1,
        max_message_size=7,
        compression=True,
    )
    assert options.handshake_timeout == 1
    assert options.close_timeout is None
    assert (options.ping_idle_timeout, options.ping_reply_timeout) == (3, 2)
    assert options.ping_strategy is WSAutoPingStrategy.PING_PERIODICALLY
    assert options.enable_auto_ping is True
    assert options.enable_auto_pong is False
    assert options.disconnect_on_exception is False
    assert options.max_frame_size == 4
    assert options.buffer_size == 5
    assert options.max_write_buffer_size == 6
    assert options.drop_on_overflow is True
    assert options.assemble_messages is True
    assert options.max_message_size == 7
    assert options.deflate == PermessageDeflate()
    assert made().drop_on_overflow is False
    assert made().assemble_messages is False
    assert made().max_message_size == 10 * 1024 * 1024
    assert made().deflate is None
    with pytest.raises(AttributeError):
        options.max_frame_size = 5


def test_both_sides_have_the_options_of_a_connection():
    """Under the same names, and each of them checked in one place."""
    parameters = set(inspect.signature(ConnectionOptions.make).parameters) - {"side"}
    for function in (ws_connect, ws_create_server):
        assert parameters <= set(inspect.signature(function).parameters)
