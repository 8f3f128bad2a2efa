"""Frames that break RFC 6455: the close code, and the silence after it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

import pytest
from helpers import EchoListener, Recorder, client_frame, request_bytes
from raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    TEXT,
    Peer,
    against,
    close_payload,
    complaints,
    row,
    soon,
)

from picows_c import WSCloseCode, WSMsgType, WSProtocolError

LIMIT = 1000

# name: close code, good frames before it, the broken one; each as arguments of Peer.frame().
BEGUN = (TEXT, b"x", {"fin": False})
BROKEN = {
    "RSV1": (1002, [], (TEXT, b"x", {"rsv": 4})),
    "RSV2": (1002, [], (TEXT, b"x", {"rsv": 2})),
    "RSV3": (1002, [], (BINARY, b"", {"rsv": 1})),
    "RSV on PING": (1002, [], (PING, b"", {"rsv": 4})),
    "fragmented PING": (1002, [], (PING, b"x", {"fin": False})),
    "fragmented PONG": (1002, [], (PONG, b"x", {"fin": False})),
    "fragmented CLOSE": (1002, [], (CLOSE, close_payload(1000), {"fin": False})),
    "long PING": (1002, [], (PING, bytes(126), {})),
    "long PONG": (1002, [], (PONG, bytes(65536), {})),
    "long CLOSE": (1002, [], (CLOSE, close_payload(1000, bytes(124)), {})),
    "PING with a 16-bit length": (1002, [], (PING, b"x", {"length_size": 2})),
    "PING with a 64-bit length": (1002, [], (PING, b"x", {"length_size": 8})),
    "0 in 16 bits": (1002, [], (TEXT, b"", {"length_size": 2})),
    "125 in 16 bits": (1002, [], (TEXT, bytes(125), {"length_size": 2})),
    "125 in 64 bits": (1002, [], (TEXT, bytes(125), {"length_size": 8})),
    "126 in 64 bits": (1002, [], (TEXT, bytes(126), {"length_size": 8})),
    "65535 in 64 bits": (1002, [], (BINARY, b"", {"length": 65535, "length_size": 8})),
    "2**63": (1002, [], (BINARY, b"", {"length": 1 << 63})),
    "2**64 - 1": (1002, [], (BINARY, b"", {"length": (1 << 64) - 1})),
    "CONTINUATION first": (1002, [], (CONTINUATION, b"x", {})),
    "CONTINUATION after a message": (1002, [(TEXT, b"x", {})], (CONTINUATION, b"x", {})),
    "CONTINUATION after the last": (
        1002,
        [BEGUN, (CONTINUATION, b"x", {"fin": False}), (CONTINUATION, b"x", {})],
        (CONTINUATION, b"x", {}),
    ),
    "TEXT in a message": (1002, [BEGUN], (TEXT, b"x", {})),
    "BINARY in a message": (1002, [BEGUN, (PONG, b"", {})], (BINARY, b"x", {"fin": False})),
    "CLOSE of one byte": (1002, [], (CLOSE, b"\x03", {})),
    "CLOSE with cut UTF-8": (1007, [], (CLOSE, close_payload(1000, b"\xc3"), {})),
    "CLOSE with a surrogate": (1007, [], (CLOSE, close_payload(1000, b"\xed\xa0\x80"), {})),
    "CLOSE in Latin-1": (1007, [], (CLOSE, close_payload(1000, b"caf\xe9!"), {})),
    "too large by one": (1009, [], (BINARY, b"", {"length": LIMIT + 1})),
    "too large fragment": (1009, [BEGUN], (CONTINUATION, b"", {"length": LIMIT + 1})),
    "too large: 65536": (1009, [], (TEXT, b"", {"length": 65536})),
    "too large: 2**63 - 1": (1009, [], (BINARY, b"", {"length": (1 << 63) - 1})),
}
for number in (*range(3, 8), *range(11, 16)):
    BROKEN[f"opcode {number:#x}"] = (1002, [], (number, b"x", {}))
for number in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535):
    BROKEN[f"CLOSE {number}"] = (1002, [], (CLOSE, close_payload(number, b"no"), {}))

GOOD_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]


async def fails(net, role: str, caplog, code: int, good: list[bytes], bad: bytes) -> Recorder:
    """Send good frames and a broken one in one piece, and check how the connection ends."""
    listener = Recorder()
    async with against(net, role, listener, max_frame_size=LIMIT) as peer:
        caplog.clear()
        peer.write(*good, bad, peer.frame(TEXT, b"after"), peer.close_frame(1000))
        reason = (await peer.expect_close(code)).decode()
        assert 0 < len(reason) <= 123
        # Whatever else comes is thrown away.
        for _ in range(5):
            peer.write(peer.frame(BINARY, b"after"), peer.frame(PING, b"after"), b"\xff\xff")
        assert await peer.rest() == b""
        await soon(listener.disconnected.wait())
        transport = listener.transport
        if role == "client":
            with pytest.raises(WSProtocolError, match=reason) as caught:
                await soon(transport.wait_disconnected())
            assert caught.value.code is WSCloseCode(code)
            assert caught.value.args == (code, reason)
        else:
            assert await soon(transport.wait_disconnected()) is None
        assert transport.close_handshake.recv is None
        assert transport.close_handshake.sent.code is WSCloseCode(code)
        assert transport.close_handshake.sent.reason == reason
    (record,) = complaints(caplog)
    assert record.levelno == logging.WARNING
    assert record.name == f"picows_c.{role}"
    assert f"{code}: {reason}" in record.message
    return listener


def built(role: str, frames) -> list[bytes]:
    """Build frames with the mask that the peer of ``role`` has to use."""
    peer = Peer(None, None, is_client=role == "server")
    return [peer.frame(opcode, payload, **options) for opcode, payload, options in frames]


async def check(net, role, caplog, name):
    code, good, bad = BROKEN[name]
    *good_bytes, bad_bytes = built(role, [*good, bad])
    listener = await fails(net, role, caplog, code, good_bytes, bad_bytes)
    delivered = [WSMsgType(opcode).name for opcode, _, _ in good]
    assert listener.events == ["connected", *delivered, "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_broken_frames(net, role, caplog):
    for name in BROKEN:
        with row(name):
            await check(net, role, caplog, name)


@pytest.mark.parametrize("role", ROLES)
async def test_wrong_mask(net, role, caplog):
    """A client must mask, a server must not (RFC 6455, 5.1)."""
    mask = None if role == "server" else os.urandom(4)
    peer = Peer(None, None, is_client=role == "server")
    for opcode, payload in ((TEXT, b"x"), (PING, b""), (CLOSE, close_payload(1000))):
        bad = peer.frame(opcode, payload, mask=mask)
        listener = await fails(net, role, caplog, 1002, [peer.frame(TEXT, b"good")], bad)
        assert listener.events == ["connected", "TEXT", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_good_codes(plain, role):
    for code in GOOD_CODES:
        listener = Recorder()
        async with against(plain, role, listener) as peer:
            peer.write(peer.close_frame(code))
            await peer.expect_close(code, b"")
            frame = await soon(listener.frames.get())
            assert frame.get_close_code() == code


@pytest.mark.parametrize("role", ROLES)
async def test_replies_to_the_good_frames_before_a_broken_one_are_sent(net, role):
    class Echo(EchoListener, Recorder):
        def on_ws_frame(self, transport, frame):
            Recorder.on_ws_frame(self, transport, frame)
            EchoListener.on_ws_frame(self, transport, frame)

    listener = Echo()
    async with against(net, role, listener) as peer:
        peer.write(
            peer.frame(TEXT, b"one"),
            peer.frame(PING, b"two"),
            peer.frame(BINARY, bytes(300)),
            peer.frame(11),
            peer.frame(TEXT, b"after"),
            peer.frame(PING, b"after"),
        )
        await peer.expect(TEXT, b"one")
        await peer.expect(PONG, b"two")
        await peer.expect(BINARY, bytes(300))
        await peer.expect_close(1002)
        assert await peer.rest() == b""
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "TEXT", "BINARY", "disconnected"]


async def test_a_sender_that_reads_only_afterwards_learns_why(plain):
    """More than max_frame_size's default is on its way then: it must not be met with a reset."""

    def talk() -> bytes:
        address = ("127.0.0.1", plain.port)
        with socket.create_connection(address, 20) as sock, sock.makefile("rb") as stream:
            sock.sendall(request_bytes())
            while stream.readline() != b"\r\n":
                pass
            size = 16 << 20
            sock.sendall(client_frame(BINARY, b"", length=size, mask=bytes(4)))
            sock.sendall(bytes(size))
            return stream.read(4)

    async with plain.serve(lambda request: Recorder()):
        got = await soon(asyncio.get_running_loop().run_in_executor(None, talk))
        assert got[:1] + got[2:] == b"\x88" + close_payload(1009)


@pytest.mark.parametrize("role", ROLES)
async def test_broken_at_the_first_byte_that_shows_it(plain, role):
    """The CLOSE does not wait for a mask or a payload that may never come."""
    first = {"opcode": b"\x83", "fin": b"\x09", "rsv": b"\xc1", "continuation": b"\x80"}
    bit = 0x80 if role == "server" else 0
    second = {"mask": bytes([0x82, 0x80 ^ bit]), "control": bytes([0x89, bit | 126])}
    length = {"not minimal": bytes([0x82, bit | 126, 0, 125])}
    for said in (*first.values(), *second.values(), *length.values()):
        listener = Recorder()
        async with against(plain, role, listener) as peer:
            for byte in said:
                peer.write(bytes([byte]))
            await peer.expect_close(1002)
            assert await peer.rest() == b""
        assert listener.events == ["connected", "disconnected"]
