"""Subprotocols as picows has them on a server, through the factory; a client of ours has an option.

That a client's header is refused is a step of extra_headers.py.
"""

from kit import recorder, serving

OFFER = {"extra_headers": {"Sec-WebSocket-Protocol": "mail, chat"}}


async def main(ws, log):
    server = recorder(ws)

    def factory(request):
        log("the server sees", request.headers["Sec-WebSocket-Protocol"])
        response = ws.WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "chat"})
        return ws.WSUpgradeResponseWithListener(response, server)

    async with serving(ws, factory) as port:
        client = recorder(ws)
        url = f"ws://127.0.0.1:{port}/"
        offer = {"subprotocols": ["mail", "chat"]} if ws.__name__ == "picows_c" else OFFER
        transport, _ = await ws.ws_connect(lambda: client, url, **offer)
        log("the client sees", transport.response.headers["Sec-WebSocket-Protocol"])
        transport.disconnect()
        log("events", [await client.until("disconnected"), await server.until("disconnected")])
