"""coalesce_writes: what the callbacks of one read send leaves together."""

from __future__ import annotations

import pytest
from helpers import Recorder
from raw import BINARY, CLOSE, PING, PONG, ROLES, TEXT, against, pattern, soon

from picows_c import WSMsgType

ON = {"coalesce_writes": True}


class Answering(Recorder):
    """Answers each frame, and notes how much waits behind each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[int, int]] = []

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self.answer(transport, frame)
        self.waiting.append((frame.tail_size, transport.write_buffer_size))

    def answer(self, transport, frame):
        transport.send(frame.msg_type, frame.get_payload_as_bytes())


def burst(peer, count: int, size: int = 10) -> list[bytes]:
    """Send so many frames at once; return what is in them."""
    payloads = [pattern(size, i) for i in range(count)]
    peer.write(*(peer.frame(BINARY, payload) for payload in payloads))
    return payloads


@pytest.mark.parametrize("role", ROLES)
async def test_answers_of_one_read_leave_behind_the_last(net, role):
    listener = Answering()
    async with against(net, role, listener, **ON) as peer:
        for payload in burst(peer, 50):
            await peer.expect(BINARY, payload)
        # 50 small frames may come in several reads; each read's answers wait for its last frame.
        assert any(tail for tail, _ in listener.waiting)
        for tail, waiting in listener.waiting:
            if tail:
                assert waiting > 0
        assert listener.transport.write_buffer_size == 0


@pytest.mark.parametrize("role", ROLES)
async def test_without_it_each_answer_leaves_at_once(net, role):
    listener = Answering()
    async with against(net, role, listener, coalesce_writes=False) as peer:
        for payload in burst(peer, 50):
            await peer.expect(BINARY, payload)
        assert {waiting for _, waiting in listener.waiting} == {0}


async def test_servers_have_it_and_clients_do_not(plain):
    for role in ROLES:
        listener = Answering()
        async with against(plain, role, listener) as peer:
            for payload in burst(peer, 50):
                await peer.expect(BINARY, payload)
            assert any(waiting for _, waiting in listener.waiting) is (role == "server")


@pytest.mark.parametrize("role", ROLES)
async def test_order_with_what_does_not_fit(net, role):
    """Long answers, a PONG, a cork and pieces of a message between short answers."""

    class Mixed(Answering):
        def answer(self, transport, frame):
            size = frame.payload_size
            if size == 0:
                with transport.cork():
                    transport.send(WSMsgType.TEXT, "corked")
                    transport.send(WSMsgType.TEXT, "and corked")
            elif size == 1:
                transport.send(WSMsgType.TEXT, "begin", fin=False)
                transport.send(WSMsgType.CONTINUATION, "end")
            else:
                super().answer(transport, frame)

    sizes = [10, 0, 20, 1, 8000, 8192, 8193, 30, 40_000, 3, 70_000, 0, 1, 200_000, 10]
    listener = Mixed()
    async with against(net, role, listener, **ON) as peer:
        peer.write(
            *(peer.frame(PING, b"first"), peer.frame(BINARY, b"xy")),
            *(peer.frame(BINARY, pattern(size)) for size in sizes),
            peer.frame(PING, b"last"),
        )
        await peer.expect(PONG, b"first")
        await peer.expect(BINARY, b"xy")
        for size in sizes:
            if size == 0:
                await peer.expect(TEXT, b"corked")
                await peer.expect(TEXT, b"and corked")
            elif size == 1:
                assert (await peer.next())[:3] == (TEXT, b"begin", False)
                assert (await peer.next())[:3] == (0, b"end", True)
            else:
                await peer.expect(BINARY, pattern(size))
        await peer.expect(PONG, b"last")


@pytest.mark.parametrize("end", ["disconnect", "abort", "close", "raise", "peer", "broken"])
@pytest.mark.parametrize("role", ROLES)
async def test_nothing_is_lost_at_the_end(net, role, end):
    """What was sent before the connection ended arrives."""

    class Ending(Answering):
        def answer(self, transport, frame):
            super().answer(transport, frame)
            if frame.get_payload_as_bytes() != b"three":
                return
            if end == "disconnect":
                transport.disconnect()
            elif end == "abort":
                transport.disconnect(False)
            elif end == "close":
                transport.send_close(3000, "enough")
            elif end == "raise":
                raise RuntimeError("from inside")

    listener = Ending()
    async with against(net, role, listener, **ON) as peer:
        last = {"peer": peer.close_frame(1000), "broken": peer.frame(0x3)}.get(end, b"")
        texts = [b"one", b"two", b"three", b"four"]
        frames = [peer.frame(TEXT, text) for text in texts]
        peer.write(*frames[:3], last, frames[3])
        for text in texts[:3]:
            await peer.expect(TEXT, text)
        if end in ("close", "raise", "peer", "broken"):
            code = {"close": 3000, "raise": 1011, "peer": 1000, "broken": 1002}[end]
            await peer.expect_close(code)
            peer.write(peer.frame(CLOSE))
        if end != "abort":
            await peer.gone()
        await soon(listener.disconnected.wait())


async def test_exit_inside_a_read(plain):
    """KeyboardInterrupt ends the read; the answers before it leave."""

    class Interrupted(Answering):
        def answer(self, transport, frame):
            super().answer(transport, frame)
            if frame.get_payload_as_bytes() == b"two":
                transport.disconnect()
                raise SystemExit("from inside")

    # The loop would stop: the reader alone shows it.
    listener = Interrupted()
    async with against(plain, "server", listener) as peer:
        protocol = listener.transport._owner
        room = protocol.get_buffer(-1)
        data = b"".join(peer.frame(TEXT, text) for text in (b"one", b"two", b"three"))
        room[: len(data)] = data
        with pytest.raises(SystemExit):
            protocol.buffer_updated(len(data))
        del room
        await peer.expect(TEXT, b"one")
        await peer.expect(TEXT, b"two")
        await peer.gone()


async def test_a_cork_that_spans_reads_holds(plain):
    """A cork of the user's is stronger: its frames leave when it is pulled."""
    listener = Answering()
    async with against(plain, "server", listener) as peer:
        with listener.transport.cork():
            payloads = burst(peer, 3)
            for _ in payloads:
                await soon(listener.frames.get())
            peer.write(peer.frame(BINARY, b"four"))
            await soon(listener.frames.get())
            assert listener.transport.write_buffer_size == 3 * 12 + 6
        for payload in [*payloads, b"four"]:
            await peer.expect(BINARY, payload)


async def test_a_limit_counts_what_is_coalesced(plain):
    listener = Answering()
    options = {"max_write_buffer_size": 50, "on_write_overflow": "drop"}
    async with against(plain, "server", listener, **options) as peer:
        payloads = burst(peer, 8)
        for payload in payloads[:4]:
            await peer.expect(BINARY, payload)
        peer.write(peer.frame(TEXT, b"on"))
        await peer.expect(TEXT, b"on")
        assert listener.transport.stats.messages_dropped == 4
