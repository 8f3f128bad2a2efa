"""An extension of the user's own: what was agreed on in the handshake may use RSV bits."""

from kit import TEXT, Peer, accepting, failure, open_raw, raw_server, recorder, serving
from wire import read_head, request_bytes

OFFER = {"Sec-WebSocket-Extensions": "x-own"}

DIFFERS = {"extension-grammar": ["server: a broken header", "client: a broken header"]}


async def main(ws, log):
    bits = []

    def look(transport, frame):
        bits.append([frame.rsv1, frame.rsv2, frame.rsv3])
        transport.send(frame.msg_type, b"back", True, True, False, True)

    async def talk(name: str, peer: Peer, listener) -> None:
        await listener.until("connected")
        peer.send_frame(TEXT, b"there", rsv=0b111)
        log(f"{name}: the answer", await peer.receive())
        log(f"{name}: events", await listener.until("TEXT"))
        log(f"{name}: bits", bits.pop())
        listener.transport.disconnect(False)
        await listener.until("disconnected")

    def factory(_):
        response = ws.WSUpgradeResponse.create_101_response(OFFER)
        return ws.WSUpgradeResponseWithListener(response, listener)

    listener = recorder(ws, on_ws_frame=look)
    async with serving(ws, factory) as port:
        peer = await open_raw(port)
        peer.send(request_bytes(Sec_WebSocket_Extensions="x-own"))
        _, headers = await read_head(peer.reader)
        log("server: the header", headers.get("sec-websocket-extensions"))
        await talk("server", peer, listener)
        peer.abort()
        peer = await open_raw(port)
        peer.send(request_bytes(Sec_WebSocket_Extensions="x-own; a="))
        first, _ = await read_head(peer.reader)
        log("server: a broken header", first)
        peer.abort()

    ours = ws.__name__ == "picows_c"
    offer = {"extensions": ["x-own"]} if ours else {"extra_headers": OFFER}
    peers = []

    async def handle(peer):
        _, headers = await read_head(peer.reader)
        peer.send(accepting(headers["sec-websocket-key"], "Sec-WebSocket-Extensions: x-own"))
        peers.append(peer)

    listener = recorder(ws, on_ws_frame=look)
    async with raw_server(handle) as port:
        url = f"ws://127.0.0.1:{port}/"
        transport, _ = await ws.ws_connect(lambda: listener, url, **offer)
        log("client: the header", transport.response.headers["Sec-WebSocket-Extensions"])
        await talk("client", peers[0], listener)

    async def broken(peer):
        _, headers = await read_head(peer.reader)
        peer.send(accepting(headers["sec-websocket-key"], "Sec-WebSocket-Extensions: x-own; a="))

    listener = recorder(ws)
    async with raw_server(broken) as port:
        url = f"ws://127.0.0.1:{port}/"
        made = await failure(ws.ws_connect(lambda: listener, url, **offer))
        if isinstance(made, tuple):
            made[0].disconnect(False)
            await listener.until("disconnected")
        log("client: a broken header", [type(made).__name__, getattr(made, "name", None)])
