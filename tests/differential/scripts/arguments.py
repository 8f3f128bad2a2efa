"""Arguments out of range or of the wrong type."""

import socket
import ssl

from kit import IMPATIENCE, accept, outcome, raw_server, recorder

OF_BOTH = (
    "auto_ping_strategy 7",
    "max_frame_size -1",
    "read_buffer_init_size 0",
    "handshake timeout a str",
    "logger_name an int",
    "zero_copy_unsafe_ssl_write",
)
OF_CONNECT = (
    "reply timeout above idle timeout",
    "ssl",
    "sock",
    "all_errors",
    "ssl_context an int",
    "ssl_context for ws",
    "a url in bytes",
    "a url that is None",
)
OF_SERVER = (
    "reply timeout above idle timeout",
    "max_frame_size a str",
    "max_frame_size a float",
    "max_frame_size None",
    "read_buffer_init_size a str",
    "a factory that cannot be called",
    "ssl an int",
)
DIFFERS = {
    "argument-errors": [
        *(f"{side}: {name}" for side in ("connect", "server") for name in OF_BOTH),
        *(f"connect: {name}" for name in OF_CONNECT),
        *(f"server: {name}" for name in OF_SERVER),
    ],
}


async def main(ws, log):
    async def handle(peer):
        await accept(peer)

    ping = {"enable_auto_ping": True}
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    both = {
        "an unknown keyword": {"no_such_thing": 1},
        "auto_ping_strategy 7": {"auto_ping_strategy": 7},
        "reply timeout above idle timeout": {
            **ping,
            "auto_ping_idle_timeout": 1,
            "auto_ping_reply_timeout": 2,
        },
        "the same without auto ping": {
            "auto_ping_idle_timeout": 1,
            "auto_ping_reply_timeout": 2,
        },
        "max_frame_size a str": {"max_frame_size": "1"},
        "max_frame_size a float": {"max_frame_size": 1.5},
        "max_frame_size -1": {"max_frame_size": -1},
        "max_frame_size None": {"max_frame_size": None},
        "read_buffer_init_size a str": {"read_buffer_init_size": "1"},
        "read_buffer_init_size 0": {"read_buffer_init_size": 0},
        "read_buffer_init_size 100": {"read_buffer_init_size": 100},
        "no handshake timeout": {"websocket_handshake_timeout": None},
        "handshake timeout a str": {"websocket_handshake_timeout": "1"},
        "logger_name an int": {"logger_name": 5},
        "zero_copy_unsafe_ssl_write": {"zero_copy_unsafe_ssl_write": True},
    }
    of_connect = {
        "ssl": {"ssl": True},
        "sock": {"sock": socket},
        "all_errors": {"all_errors": True},
        "ssl_context an int": {"ssl_context": 5},
        "ssl_context for ws": {"ssl_context": tls},
        "server_hostname for ws": {"server_hostname": "example.com"},
    }

    async with raw_server(handle) as port:

        async def connect(name, factory, url, **options):
            listener = recorder(ws)
            made = await outcome(
                ws.ws_connect(factory or (lambda: listener), url, **options), IMPATIENCE
            )
            if isinstance(made, tuple):
                made[0].disconnect(False)
                await made[0].wait_disconnected()
                made = "a connection"
            log(f"connect: {name}", made)

        url = f"ws://127.0.0.1:{port}/"
        for name, options in {**both, **of_connect}.items():
            await connect(name, None, url, **options)
        await connect("a factory that cannot be called", 5, url)
        await connect("a url in bytes", None, url.encode())
        await connect("a url that is None", None, None)

    async def serve(name, factory, *args, **options):
        async def create():
            return await ws.ws_create_server(factory, *args, **options)

        made = await outcome(create(), IMPATIENCE)
        if not isinstance(made, (str, list)):
            made.close()
            made = "a server"
        log(f"server: {name}", made)

    for name, options in both.items():
        await serve(name, lambda _: recorder(ws), "127.0.0.1", 0, **options)
    await serve("a factory that cannot be called", 5, "127.0.0.1", 0)
    await serve("ssl an int", lambda _: recorder(ws), "127.0.0.1", 0, ssl=5)
    await serve("no address", lambda _: recorder(ws))
    await serve("a name that is none", lambda _: recorder(ws), "no such host", 0)
