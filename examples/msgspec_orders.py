"""Typed messages without a copy: decoded where they were received, encoded where they leave.

python msgspec_orders.py --port 9001        needs: pip install msgspec
"""

from __future__ import annotations

import argparse
import asyncio

import msgspec

from picows_c import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

HEAD = 14  # room for the frame's head, before what is sent


class Order(msgspec.Struct):
    id: int
    price: float
    quantity: float


class Accepted(msgspec.Struct):
    id: int
    value: float


decoder = msgspec.json.Decoder(Order)
encoder = msgspec.json.Encoder()


class Desk(WSListener):
    def __init__(self) -> None:
        self.buffer = bytearray(256)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        try:
            order = decoder.decode(frame.get_payload_as_memoryview())
        except msgspec.DecodeError as error:
            transport.send_close(WSCloseCode.UNSUPPORTED_DATA, str(error)[:100])
            return
        answer = Accepted(order.id, order.price * order.quantity)
        encoder.encode_into(answer, self.buffer, HEAD)
        # The head goes before the answer, and both to the kernel, from this very buffer.
        transport.send_reuse_external_bytearray(WSMsgType.TEXT, self.buffer, HEAD)


async def main(host: str, port: int) -> None:
    server = await ws_create_server(lambda request: Desk(), host, port, assemble_messages=True)
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port))
