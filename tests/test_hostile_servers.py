"""Attacks on a client in a process of its own: it stays up, honest servers are answered meanwhile.

Memory is bounded for each hostile connection. What a single malformed head or frame does is in
test_handshake_client_refusals.py and test_frames_broken.py; attacks on a server are in
test_hostile.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import struct
import sys
from pathlib import Path

import pytest
from helpers import EchoListener, accept_for, frame_bytes, read_head
from raw import BINARY, CLOSE, CONTINUATION, PATIENCE, PING, PONG, TEXT, close_payload, soon
from scripts import script
from test_frames_broken import BROKEN
from test_hostile import MIB, PER_ATTACKER, SLACK, deflated, resident

from picows_c import ws_create_server

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc"
)

CONNECTIONS = 100
# What TLS has of its own: OpenSSL, and the buffers of the loop's transports.
PER_TLS = {"auto": 128 * 1024, "loop": 384 * 1024}
# An attack without end goes on; so many bytes of it are enough to judge it.
ENOUGH = 16 * 1024
# Each loop with one of the ways of the bytes: a client is slower to make than to attack.
WAYS = {"asyncio": "auto", "uvloop": "loop"}


class Hostile:
    """The server's end of one connection."""

    def __init__(self, reader, writer, number, url):
        self.reader, self.writer, self.number, self.url = reader, writer, number, url
        self.dice = random.Random(number)
        # enough of it has been sent, or there is nobody any more
        self.done = asyncio.get_running_loop().create_future()

    async def live(self, attack):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await attack(self)
            self.enough()
            # What the client says now is not heard.
            await asyncio.get_running_loop().create_future()
        self.enough()

    def enough(self):
        if not self.done.done():
            self.done.set_result(None)

    async def send(self, *parts):
        """Send bytes, unless the client reads none; it may have gone."""
        if self.writer.transport.is_closing():
            raise ConnectionResetError
        if self.writer.transport.get_write_buffer_size() < MIB:
            self.writer.write(b"".join(parts))

    async def endlessly(self, data, enough=ENOUGH):
        """Send enough, and then go on, so that there is always more; but others have their turn."""
        for _ in range(enough // len(data) + 1):
            await self.send(data)
        self.enough()
        while True:
            await asyncio.sleep(0.1)
            await self.send(data)

    async def asked(self):
        _, headers = await read_head(self.reader)
        return headers["sec-websocket-key"]

    async def agree(self, *glued):
        """Open the connection; what is glued to the answer comes with it."""
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_for(await self.asked())}\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12\r\n\r\n"
        )
        await self.send(answer.encode(), *glued)

    def reset(self):
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


# ---- attacks ----

ATTACKS = {}


def ends(*outcomes):
    """Note an attack, and what may become of the client's connections by it.

    "opening" and "open" are those that are still there; the others are exceptions of ws_connect,
    or kinds of WSDisconnectCause.
    """

    def note(attack):
        ATTACKS[attack.__name__.replace("_", " ")] = attack, set(outcomes)
        return attack

    return note


@ends("opening")
async def silence(server):
    await server.asked()


@ends("opening")
async def half_an_answer(server):
    await server.asked()
    await server.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs")


@ends("opening")
async def a_slow_answer(server):
    await server.asked()
    await server.send(b"HTTP/1.1 101 OK\r\nX: ")
    server.enough()
    for _ in range(10_000):
        await server.send(b"y")
        await asyncio.sleep(0.001)


def endless(begin: bytes, more: bytes):
    """Begin an answer, and go on with the same for ever."""

    async def attack(server):
        await server.asked()
        await server.send(begin)
        await server.endlessly(more)

    return attack


for name, begin, more in (
    ("fields without end", b"HTTP/1.1 101 OK\r\n", b"X: y\r\n" * 100),
    ("a field without end", b"HTTP/1.1 101 OK\r\nX: ", b"y" * 1000),
    ("a reason without end", b"HTTP/1.1 101 ", b"OK " * 300),
):
    ATTACKS[name] = endless(begin, more), {"WSInvalidMessageError"}


@ends("WSInvalidMessageError")
async def no_http(server):
    await server.asked()
    await server.endlessly(server.dice.randbytes(2000))


@ends("WSInvalidMessageError", "WSHandshakeError", "ConnectionResetError")
async def garbage_before_the_request(server):
    await server.send(b"\0" + server.dice.randbytes(2000))


@ends("WSInvalidStatusError")
async def a_refusal_without_end(server):
    await server.asked()
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n")
    await server.endlessly(bytes(10_000))


@ends("WSInvalidMessageError")
async def go_on_without_end(server):
    await server.asked()
    await server.endlessly(b"HTTP/1.1 100 Continue\r\n\r\n")


@ends("WSInvalidStatusError")
async def a_refusal_without_length(server):
    await server.asked()
    await server.send(b"HTTP/1.1 503 Busy\r\n\r\n")
    await server.endlessly(bytes(10_000))


@ends("WSInvalidStatusError")
async def a_chunk_without_end(server):
    await server.asked()
    await server.send(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    await server.endlessly(b"a" * 10_000)


@ends("WSInvalidStatusError")
async def redirects_without_end(server):
    await server.asked()
    where = f"{server.url}{server.dice.randrange(10**9)}/{'x' * 10_000}"
    await server.send(b"HTTP/1.1 302 Found\r\nLocation: " + where.encode() + b"\r\n\r\n")
    await server.endlessly(bytes(10_000))


@ends("WSInvalidHeaderError", "WSInvalidUpgradeError")
async def the_answer_to_another(server):
    await server.asked()
    await server.send(
        b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@ends("WSHandshakeError", "ConnectionResetError", "WSInvalidMessageError")
async def a_reset_in_the_handshake(server):
    await server.asked()
    server.writer.write(b"HTTP/1.1 101 OK\r\n")
    server.reset()


@ends("RESET", "EOF", "NETWORK_ERROR", "WSHandshakeError")
async def a_reset_afterwards(server):
    await server.agree()
    server.reset()


@ends("WRITE_OVERFLOW", "open")
async def pings(server):
    await server.agree()
    await server.endlessly(frame_bytes(PING, bytes(125)) * 8)


@ends("open")
async def pongs(server):
    await server.agree()
    await server.endlessly(frame_bytes(PONG, bytes(125)) * 8)


@ends("open", "WRITE_OVERFLOW")
async def empty_frames(server):
    await server.agree()
    await server.endlessly(frame_bytes(BINARY) * 10, 4000)


@ends("open")
async def empty_fragments(server):
    await server.agree(frame_bytes(TEXT, fin=False))
    await server.endlessly(frame_bytes(CONTINUATION, fin=False) * 500)


@ends("open")
async def tiny_fragments(server):
    await server.agree(frame_bytes(TEXT, b"a", fin=False))
    await server.endlessly(frame_bytes(CONTINUATION, b"a", fin=False) * 300)


@ends("PROTOCOL_ERROR")
async def a_message_without_end(server):
    """Up to the limit, and a little more, one client after the other."""
    await server.agree(frame_bytes(BINARY, b"a", fin=False))
    await asyncio.sleep(server.number * 0.01)
    for _ in range(MIB // 10_000 + 1):
        await server.send(frame_bytes(CONTINUATION, bytes(10_000), fin=False))


@ends("PROTOCOL_ERROR")
async def a_claim_of_2_63(server):
    await server.agree(frame_bytes(BINARY, length=(1 << 63) - server.number % 2))


@ends("PROTOCOL_ERROR")
async def a_claim_of_2_31(server):
    await server.agree(frame_bytes(BINARY, bytes(10), length=(1 << 31) - server.number % 2))


@ends("open")
async def a_claim_of_1_MB(server):
    await server.agree(frame_bytes(BINARY, bytes(10), length=1_000_000))


@ends("PROTOCOL_ERROR")
async def a_broken_frame_of_every_kind(server):
    names = [name for name, (_, _, bad) in BROKEN.items() if not is_of_a_limit(bad)]
    _, good, bad = BROKEN[names[server.number % len(names)]]
    frames = [frame_bytes(opcode, payload, **more) for opcode, payload, more in (*good, bad)]
    await server.agree(*frames)
    await server.endlessly(server.dice.randbytes(2000))


@ends("PROTOCOL_ERROR")
async def masked_frames(server):
    await server.agree(frame_bytes(TEXT, b"x", mask=b"1234"))
    await server.endlessly(frame_bytes(TEXT, b"x", mask=b"1234"))


@ends("PROTOCOL_ERROR")
async def no_text(server):
    await server.agree(frame_bytes(TEXT, b"\xc0\x80"))


@ends("PROTOCOL_ERROR")
async def a_compression_bomb(server):
    await server.agree(BOMB)


@ends("open", "WRITE_OVERFLOW")
async def bombs_of_the_largest_message(server):
    await server.agree(SMALL_BOMB * 2)


@ends("PROTOCOL_ERROR")
async def no_deflate_at_all(server):
    await server.agree(frame_bytes(BINARY, server.dice.randbytes(2000), rsv=4))


@ends("CLOSE_TIMEOUT")
async def no_answer_to_a_close(server):
    await server.agree(frame_bytes(TEXT, b"close"))
    await server.endlessly(frame_bytes(BINARY, bytes(100)) * 8)


@ends("PEER_CLOSE")
async def no_end_after_a_close(server):
    await server.agree(frame_bytes(CLOSE, close_payload(1000, b"bye")))


@ends("PEER_CLOSE")
async def a_flood_after_a_close(server):
    await server.agree(frame_bytes(CLOSE, close_payload(1000, b"bye")))
    await server.endlessly(frame_bytes(BINARY, bytes(1000)))


BOMB = frame_bytes(BINARY, deflated(64 * MIB), rsv=4)
SMALL_BOMB = frame_bytes(BINARY, deflated(MIB), rsv=4)
# Where nobody speaks TLS: to a client that expects it.
NO_TLS = {
    "no TLS": (b"HTTP/1.1 400 Bad Request\r\n\r\n", {"SSLError"}),
    "half a record": (b"\x16\x03\x03\x40\x00\x02", {"opening"}),
    "records that say nothing": (b"\x16\x03\x03\x00\x00" * 100, {"SSLError", "opening"}),
    "warnings": (b"\x15\x03\x03\x00\x02\x01\x5a" * 100, {"SSLError", "opening"}),
    "a large hello": (
        b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(16_380),
        {"SSLError", "opening"},
    ),
    "silence": (b"", {"opening"}),
}
# Those in which TLS has a part.
SECURE = ["silence", "pings", "empty fragments", "a broken frame of every kind", "no text"]
SECURE += ["a claim of 1 MB", "a compression bomb", "no answer to a close", "a flood after a close"]


def is_of_a_limit(frame):
    """Return whether this frame is too large for the limit of other tests, but not for ours."""
    return frame[2].get("length") in (1001, 65536)


# ---- the client, and what is measured ----


class Led:
    """The client's process."""

    def __init__(self, process):
        self.process = process

    async def say(self, *words):
        """Give a command, return the answer."""

        def ask():
            print(*words, file=self.process.stdin, flush=True)
            return self.process.stdout.readline()

        answer = await soon(asyncio.get_running_loop().run_in_executor(None, ask))
        assert answer, self.process.stderr.read()
        return answer.strip()

    async def settled(self, expected):
        """Wait until each connection has come to one of these ends."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            outcomes = json.loads(await self.say("outcomes"))
            assert sum(outcomes.values()) == CONNECTIONS
            if set(outcomes) <= expected:
                return outcomes
            assert asyncio.get_running_loop().time() < end, outcomes
            # Those in between are on their way.
            assert set(outcomes) <= expected | {"opening", "open"}, outcomes
            await asyncio.sleep(0.05)


async def lead(loop_kind, attack, expected, certificates, scheme="ws", name="", ca=""):
    """Let the client connect to so many attackers, and look at what it is worth meanwhile."""
    way = WAYS[loop_kind]
    living = []
    numbers = itertools.count()

    def accepted(reader, writer):
        hostile = Hostile(reader, writer, next(numbers), url)
        living.append((asyncio.ensure_future(hostile.live(attack)), hostile))

    is_tls = scheme == "wss" and certificates is not None
    context = certificates.server() if is_tls else None
    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context, backlog=1000)
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    honest = await ws_create_server(
        lambda request: EchoListener(),
        "127.0.0.1",
        0,
        assemble_messages=True,
        compression=True,
        websocket_handshake_timeout=None,
    )
    honest_url = f"ws://127.0.0.1:{honest.sockets[0].getsockname()[1]}/"
    try:
        with script("led_astray.py", loop_kind, way, honest_url, *([ca] if ca else [])) as process:
            led = Led(process)
            for _ in range(2):
                await led.say("honest")
            descriptors = await led.say("leave")
            before = resident(process.pid)
            await led.say("hostile", url, CONNECTIONS)
            await led.say("honest")
            outcomes = await led.settled(expected)
            if set(outcomes) <= {"opening", "open"}:
                # (With redirects, or TLS that fails, there are more, or fewer.)
                while len(living) < CONNECTIONS and not name.startswith("TLS"):
                    await asyncio.sleep(0.01)
                await asyncio.wait([hostile.done for _, hostile in living], timeout=PATIENCE)
                assert all(hostile.done.done() for _, hostile in living)
            await led.say("honest")
            await led.settled(expected)
            grown = resident(process.pid) - before
            # They are given up, and the client is what it was.
            assert await led.say("leave") == descriptors
            if "opening" in expected:
                await led.say("impatient", url, CONNECTIONS)
                await led.settled(expected - {"opening"} | {"TimeoutError"})
                assert await led.say("leave") == descriptors
            await led.say("honest")
            process.stdin.close()
            process.stdin = None
            _, complaint = process.communicate()
        print(f"{name}: {grown / CONNECTIONS / 1024:.1f} KiB each, {outcomes}", file=sys.stderr)
        assert process.returncode == 0
        assert complaint == ""
        bound = PER_ATTACKER + (PER_TLS[way] if scheme == "wss" else 0)
        assert grown <= CONNECTIONS * bound + SLACK, f"{grown / CONNECTIONS:.0f} bytes each"
    finally:
        server.close()
        honest.close()
        honest.abort_clients()
        for task, hostile in living:
            task.cancel()
            hostile.writer.transport.abort()
        await asyncio.gather(*(task for task, _ in living), return_exceptions=True)
        # (What ended them is nobody's business, and must not be reported as forgotten.)
        ended = (hostile.writer.wait_closed() for _, hostile in living)
        await soon(asyncio.gather(*ended, return_exceptions=True))
        await soon(honest.wait_closed())


@pytest.mark.parametrize("how", ATTACKS)
async def test_attacks_on_a_client(loop_kind, how):
    attack, expected = ATTACKS[how]
    await lead(loop_kind, attack, expected, None, name=how)


@pytest.mark.parametrize("how", SECURE)
async def test_attacks_over_tls(loop_kind, how, certificates, pem_files):
    attack, expected = ATTACKS[how]
    await lead(
        loop_kind, attack, expected, certificates, "wss", f"{how}, wss", pem_files / "ca.pem"
    )


@pytest.mark.parametrize("how", NO_TLS)
async def test_no_tls(loop_kind, how, pem_files):
    data, expected = NO_TLS[how]

    async def attack(server):
        await server.send(data)

    await lead(loop_kind, attack, expected, None, "wss", f"TLS: {how}", pem_files / "ca.pem")
