"""What ws_connect makes of a 101: its headers, and what lies behind it."""

from kit import TEXT, accepting, failure, raw_server, recorder
from wire import frame_bytes, read_head

DIFFERS = {
    "switching-length": ["Content-Length: 5", "Content-Length: x", "Transfer-Encoding"],
    "connection-tokens": [
        "Connection: keep-alive, Upgrade",
        "Connection in two lines",
        "Upgrade: websocket, h2c",
    ],
    "not-offered": ["a subprotocol that was not offered", "an extension that was not offered"],
    "status-line": ["no phrase"],
    "folded": ["a folded header"],
    "http-1-0": ["HTTP/1.0"],
}


def cases(key):
    """Return the answers by name."""

    def with_connection(*lines):
        return accepting(key, *lines, drop="Connection")

    good = accepting(key)
    return {
        "good": good,
        "in lower case": good.lower()
        .replace(
            accepting(key).split(b"Accept: ")[1].split(b"\r\n")[0].lower(),
            accepting(key).split(b"Accept: ")[1].split(b"\r\n")[0],
        )
        .replace(b"http/1.1", b"HTTP/1.1"),
        "no phrase": good.replace(b" Switching Protocols", b""),
        "an odd phrase": good.replace(b"Switching Protocols", b"Web Socket Protocol Handshake"),
        "HTTP/1.0": good.replace(b"HTTP/1.1", b"HTTP/1.0"),
        "no Connection": with_connection(),
        "Connection: upgrade": with_connection("Connection: upgrade"),
        "Connection: UPGRADE": with_connection("Connection: UPGRADE"),
        "Connection: close": with_connection("Connection: close"),
        "Connection: keep-alive, Upgrade": with_connection("Connection: keep-alive, Upgrade"),
        "Connection in two lines": with_connection("Connection: keep-alive", "Connection: Upgrade"),
        "Connection: not-upgrade": with_connection("Connection: not-upgrade"),
        "no Upgrade": accepting(key, drop="Upgrade"),
        "Upgrade: WebSocket": accepting(key, "Upgrade: WebSocket", drop="Upgrade"),
        "Upgrade: h2c": accepting(key, "Upgrade: h2c", drop="Upgrade"),
        "Upgrade: websocket, h2c": accepting(key, "Upgrade: websocket, h2c", drop="Upgrade"),
        "no Accept": accepting(key, drop="Sec-WebSocket-Accept"),
        "a wrong Accept": accepting("AAAA"),
        "Content-Length: 0": accepting(key, "Content-Length: 0"),
        "Content-Length: 5": accepting(key, "Content-Length: 5"),
        "Content-Length: x": accepting(key, "Content-Length: x"),
        "Transfer-Encoding": accepting(key, "Transfer-Encoding: chunked"),
        "a folded header": accepting(key, "A: 1", " 2"),
        "white space around": accepting(key, "A:  1 \t"),
        "bytes beyond ASCII": accepting(key, "A: ä"),
        "a subprotocol that was not offered": accepting(key, "Sec-WebSocket-Protocol: chat"),
        "an extension that was not offered": accepting(key, "Sec-WebSocket-Extensions: x-1"),
    }


async def main(ws, log):
    name = ""

    async def handle(peer):
        _, headers = await read_head(peer.reader)
        peer.send(cases(headers["sec-websocket-key"])[name])

    async def connect(port, **options):
        """Connect; return what the response says, or the exception."""
        listener = recorder(ws)
        url = f"ws://127.0.0.1:{port}/"
        made = await failure(ws.ws_connect(lambda: listener, url, **options))
        if isinstance(made, tuple):
            response = made[0].response
            made[0].disconnect(False)
            await listener.until("disconnected")
            return [int(response.status), response.version, list(response.headers)]
        told = [type(made).__name__, getattr(made, "name", None), getattr(made, "value", None)]
        response = getattr(made, "response", None)
        return [*told, response and int(response.status)]

    async with raw_server(handle) as port:
        for name in cases("AAAA"):
            log(name, await connect(port))
        name = "a subprotocol that was not offered"
        offer = {"extra_headers": {"Sec-WebSocket-Protocol": "mail, chat"}}
        if ws.__name__ == "picows_c":
            offer = {"subprotocols": ["mail", "chat"]}
        log("a subprotocol that was offered", await connect(port, **offer))
        name = "an extension that was not offered"
        offer = {"extra_headers": {"Sec-WebSocket-Extensions": "x-1; a=b"}}
        if ws.__name__ == "picows_c":
            offer = {"extensions": ["x-1; a=b"]}
        log("an extension that was offered", await connect(port, **offer))

    async def with_frames(peer):
        _, headers = await read_head(peer.reader)
        frames = frame_bytes(TEXT, b"one") + frame_bytes(TEXT, b"two")
        peer.send(accepting(headers["sec-websocket-key"]) + frames)

    async with raw_server(with_frames) as port:
        listener = recorder(ws)
        transport, _ = await ws.ws_connect(lambda: listener, f"ws://127.0.0.1:{port}/")
        log("frames right behind", await listener.until("TEXT", 2))
        transport.disconnect(False)
        await listener.until("disconnected")

    async def in_pieces(peer):
        _, headers = await read_head(peer.reader)
        for byte in accepting(headers["sec-websocket-key"]):
            peer.send(bytes([byte]))
            await peer.writer.drain()

    async with raw_server(in_pieces) as port:
        log("byte by byte", await connect(port))
