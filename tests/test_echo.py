"""A server and a client of ours talk, on both loops, plain and over TLS."""

from __future__ import annotations

import asyncio

import pytest
from helpers import EchoListener, Recorder

from picows_c import WSCloseCode, WSMsgType

SIZES = [0, 1, 125, 126, 127, 128, 129, 4096, 65535, 65536, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
async def test_echo_sizes(net, size):
    payload = bytes(i * 7 & 0xFF for i in range(size))
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder)
        for msg_type in (WSMsgType.BINARY, WSMsgType.TEXT):
            data = payload if msg_type == WSMsgType.BINARY else bytes(b & 0x7F for b in payload)
            transport.send(msg_type, data)
            frame = await listener.frames.get()
            assert frame.msg_type is msg_type
            assert frame.fin is True
            assert frame.payload_size == size
            assert frame.get_payload_as_bytes() == data
        transport.send_close(WSCloseCode.OK, b"bye")
        await transport.wait_disconnected()
        assert transport.close_handshake.recv.code is WSCloseCode.OK
        assert transport.close_handshake.sent.reason == "bye"
        assert transport.close_handshake.recv_then_sent is False
    assert listener.events[0] == "connected"
    assert listener.events[-2:] == ["CLOSE", "disconnected"]


async def test_many_messages_in_flight_keep_their_order(net):
    count = 5000
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder)
        for i in range(count):
            transport.send(WSMsgType.BINARY, i.to_bytes(4, "big") * (1 + i % 50))
        for i in range(count):
            frame = await listener.frames.get()
            assert bytes(frame) == i.to_bytes(4, "big") * (1 + i % 50)
        transport.disconnect()
        await transport.wait_disconnected()


async def test_many_clients(net):
    async def talk(n: int) -> None:
        transport, listener = await net.connect(Recorder)
        for i in range(20):
            transport.send(WSMsgType.TEXT, f"{n} {i}")
            frame = await listener.frames.get()
            assert frame.get_payload_as_utf8_text() == f"{n} {i}"
        transport.send_close(WSCloseCode.GOING_AWAY)
        await transport.wait_disconnected()

    async with net.serve(lambda r: EchoListener()):
        await asyncio.gather(*(talk(n) for n in range(30)))
