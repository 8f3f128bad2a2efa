"""Subprotocols by hand, as picows has them: through the factory and the headers."""

from kit import recorder, serving

OFFER = {"Sec-WebSocket-Protocol": "mail, chat"}


async def main(ws, log):
    server = recorder(ws)

    def factory(request):
        log("the server sees", request.headers["Sec-WebSocket-Protocol"])
        response = ws.WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "chat"})
        return ws.WSUpgradeResponseWithListener(response, server)

    async with serving(ws, factory) as port:
        client = recorder(ws)
        url = f"ws://127.0.0.1:{port}/"
        transport, _ = await ws.ws_connect(lambda: client, url, extra_headers=OFFER)
        log("the client sees", transport.response.headers["Sec-WebSocket-Protocol"])
        transport.disconnect()
        log("events", [await client.until("disconnected"), await server.until("disconnected")])
