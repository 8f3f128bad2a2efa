"""Auto ping, the listener's own pings, and measuring round trips."""

from __future__ import annotations

import asyncio

import pytest
from helpers import Recorder
from raw import BINARY, PING, PONG, ROLES, TEXT, against, complaints, soon

from picows_c import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSDisconnectKind,
    WSMsgType,
    ws_connect,
    ws_create_server,
)

# Long enough to tell a ping that comes at once from one that waits.
SHORT = 0.05
# For who answers: long enough on a machine that is busy.
ANSWERED = 0.25
TIMEOUT_TEXT = "peer has not replied to ping/heartbeat request within {} second(s)"


def pings(idle: float, reply: float, periodically: bool = False) -> dict:
    strategy = WSAutoPingStrategy.PING_WHEN_IDLE
    if periodically:
        strategy = WSAutoPingStrategy.PING_PERIODICALLY
    return {
        "enable_auto_ping": True,
        "auto_ping_idle_timeout": idle,
        "auto_ping_reply_timeout": reply,
        "auto_ping_strategy": strategy,
    }


class OwnPings(Recorder):
    """Pings with a text message, which a text message answers."""

    def __init__(self, ping: str = "ping?", pong: str = "pong!") -> None:
        super().__init__()
        self.ping, self.pong = ping, pong
        self.asked: list[WSMsgType] = []

    def send_user_specific_ping(self, transport):
        self.events.append("ping")
        transport.send(WSMsgType.TEXT, self.ping)

    def is_user_specific_pong(self, frame):
        self.asked.append(frame.msg_type)
        return frame.get_payload_as_bytes() == self.pong.encode()


@pytest.mark.parametrize("periodically", [False, True])
@pytest.mark.parametrize("role", ROLES)
async def test_answered_pings_keep_the_connection(net, role, periodically):
    listener = Recorder()
    async with against(net, role, listener, **pings(ANSWERED, ANSWERED, periodically)) as peer:
        for _ in range(4):
            await peer.expect(PING)
            peer.send(PONG)
        peer.send(TEXT, b"still here")
        frame = await soon(listener.frames.get())
        # The answers were not delivered.
        assert frame.get_payload_as_bytes() == b"still here"
        assert listener.transport.disconnect_cause is None


@pytest.mark.parametrize("role", ROLES)
async def test_a_silent_peer_is_given_up(net, role):
    listener = Recorder()
    async with against(net, role, listener, **pings(SHORT, SHORT)) as peer:
        await peer.expect(PING)
        text = TIMEOUT_TEXT.format(SHORT)
        await peer.expect_close(1001, text.encode())
        await soon(listener.disconnected.wait())
        cause = listener.transport.disconnect_cause
        assert cause.kind is WSDisconnectKind.PING_TIMEOUT
        assert (cause.initiator, cause.code) == ("local", WSCloseCode.GOING_AWAY)
        assert cause.reason == text
        assert cause.exception is None
        # What the peer did never raises.
        await soon(listener.transport.wait_disconnected())


@pytest.mark.parametrize("role", ROLES)
async def test_any_byte_counts_as_life(plain, role):
    """A frame that takes long is on its way: its answer stands behind it."""
    listener = Recorder()
    async with against(plain, role, listener, **pings(SHORT, SHORT)) as peer:
        frame = peer.frame(BINARY, bytes(3000))
        await peer.expect(PING)
        seen = 0
        for at in range(0, len(frame), 100):
            peer.write(frame[at : at + 100])
            await peer.writer.drain()
            await asyncio.sleep(SHORT / 5)
            seen += 1
        assert len((await soon(listener.frames.get())).get_payload_as_bytes()) == 3000
        assert seen * SHORT / 5 > 5 * SHORT, "the frame took no longer than the timeout"
        assert listener.transport.disconnect_cause is None


@pytest.mark.parametrize("role", ROLES)
async def test_input_puts_off_a_ping_when_idle(plain, role):
    """PING_WHEN_IDLE needs silence, PING_PERIODICALLY does not."""
    listener = Recorder()
    idle = 0.2
    async with against(plain, role, listener, **pings(idle, idle)) as peer:
        begin = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - begin < 3 * idle:
            peer.send(TEXT, b"x")
            await soon(listener.frames.get())
            await asyncio.sleep(idle / 20)
        listener.transport.send(WSMsgType.TEXT, "done")
        # No ping came before it.
        await peer.expect(TEXT, b"done")
        await peer.expect(PING)
        peer.send(PONG)


@pytest.mark.parametrize("role", ROLES)
async def test_input_does_not_put_off_a_periodical_ping(plain, role):
    listener = Recorder()
    idle = 0.1
    async with against(plain, role, listener, **pings(idle, idle, True)) as peer:
        ping = asyncio.ensure_future(peer.expect(PING))
        while not ping.done():
            peer.send(TEXT, b"x")
            await soon(listener.frames.get())
        await ping
        peer.send(PONG)


@pytest.mark.parametrize("role", ROLES)
async def test_own_pings_and_pongs(net, role):
    listener = OwnPings()
    async with against(net, role, listener, **pings(ANSWERED, ANSWERED)) as peer:
        for _ in range(3):
            await peer.expect(TEXT, b"ping?")
            peer.send(PONG, b"is not it")
            peer.send(TEXT, b"pong!")
        peer.send(TEXT, b"data")
        got = []
        while b"data" not in got:
            got.append((await soon(listener.frames.get())).get_payload_as_bytes())
        assert b"pong!" not in got
        assert b"is not it" in got


@pytest.mark.parametrize("role", ROLES)
async def test_is_asked_only_while_a_pong_is_expected(plain, role):
    listener = OwnPings()
    async with against(plain, role, listener) as peer:
        peer.send(TEXT, b"pong!")
        # Nobody asked for it: it is a message like any other.
        assert (await soon(listener.frames.get())).get_payload_as_bytes() == b"pong!"
        assert listener.asked == []
        measuring = asyncio.ensure_future(listener.transport.measure_roundtrip_time(1))
        await peer.expect(TEXT, b"ping?")
        peer.send(TEXT, b"pong!")
        assert len(await soon(measuring)) == 1
        assert listener.asked == [WSMsgType.TEXT]


@pytest.mark.parametrize("role", ROLES)
async def test_notified_pong(plain, role):
    """The listener may find the answer by itself."""

    class Notifying(OwnPings):
        def is_user_specific_pong(self, frame):
            return False

        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.notify_user_specific_pong_received()

    listener = Notifying()
    async with against(plain, role, listener, **pings(ANSWERED, ANSWERED)) as peer:
        listener.transport.notify_user_specific_pong_received()  # harmless
        for i in range(3):
            await peer.expect(TEXT, b"ping?")
            peer.send(BINARY, b"%d" % i)
            assert (await soon(listener.frames.get())).get_payload_as_bytes() == b"%d" % i
        measuring = asyncio.ensure_future(listener.transport.measure_roundtrip_time(1))
        while not measuring.done():
            if (await peer.next()).payload == b"ping?":
                peer.send(BINARY, b"there")
                await asyncio.wait([measuring], timeout=SHORT)
        assert len(measuring.result()) == 1


@pytest.mark.parametrize("role", ROLES)
async def test_an_exception_of_the_ping_ends_the_connection(plain, role, caplog):
    class Failing(Recorder):
        def send_user_specific_ping(self, transport):
            raise RuntimeError("no ping today")

        def on_ws_error(self, transport, exc, where):
            super().on_ws_error(transport, exc, where)
            self.errors.append((str(exc), where))

    listener = Failing()
    listener.errors = []
    async with against(plain, role, listener, **pings(SHORT, SHORT)) as peer:
        await peer.expect_close(1011, b"an exception occurred in auto-ping loop")
        peer.abort()
        await soon(listener.disconnected.wait())
        assert listener.errors == [("no ping today", "send_user_specific_ping")]
        assert listener.transport.disconnect_cause.kind is WSDisconnectKind.LOCAL_ERROR
        await soon(listener.transport.wait_disconnected())
    assert [record.exc_info[1] is not None for record in complaints(caplog)] == [True]
    caplog.clear()


@pytest.mark.parametrize("role", ROLES)
async def test_an_exception_of_the_question_counts_as_one_of_the_frame(plain, role, caplog):
    class Failing(OwnPings):
        def is_user_specific_pong(self, frame):
            raise RuntimeError("cannot say")

    listener = Failing()
    async with against(plain, role, listener, **pings(ANSWERED, ANSWERED)) as peer:
        await peer.expect(TEXT, b"ping?")
        peer.send(TEXT, b"first")
        peer.send(TEXT, b"second")
        await peer.expect_close(1011, b"")
        peer.abort()
        await soon(listener.disconnected.wait())
    assert listener.frames.empty()
    assert "is_user_specific_pong" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("role", ROLES)
async def test_a_question_that_disconnects(plain, role):
    class Leaving(OwnPings):
        def is_user_specific_pong(self, frame):
            self.transport.disconnect(False)
            return False

    listener = Leaving()
    async with against(plain, role, listener, **pings(ANSWERED, ANSWERED)) as peer:
        await peer.expect(TEXT, b"ping?")
        peer.send(TEXT, b"not delivered")
        await soon(listener.disconnected.wait())
    assert listener.frames.empty()


@pytest.mark.parametrize("role", ROLES)
async def test_no_pings_once_the_connection_closes(plain, role):
    listener = Recorder()
    async with against(plain, role, listener, **pings(SHORT, SHORT)) as peer:
        listener.transport.send_close(WSCloseCode.OK)
        await peer.expect_close(1000)
        # Several idle timeouts later there is still nothing else.
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 4 * SHORT)


async def test_round_trips_are_measured(net):
    listener = Recorder()
    async with net.serve(lambda request: Recorder()):
        transport, _ = await net.connect(lambda: listener)
        times = await soon(transport.measure_roundtrip_time(5))
        assert len(times) == 5
        assert all(0 < t < 20 for t in times)
        assert await transport.measure_roundtrip_time(0) == []
        transport.disconnect()
        await transport.wait_disconnected()
        with pytest.raises(ConnectionResetError):
            await transport.measure_roundtrip_time(1)
    assert listener.frames.empty()


@pytest.mark.parametrize("role", ROLES)
async def test_several_measure_at_once(plain, role):
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        transport = listener.transport
        both = asyncio.gather(
            transport.measure_roundtrip_time(2), transport.measure_roundtrip_time(3)
        )
        for _ in range(5):
            await peer.expect(PING)
            # One at a time: nothing else comes before the answer.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(peer.reader.read(1), 0.02)
            peer.send(PONG)
        assert [len(times) for times in await soon(both)] == [2, 3]
        assert listener.frames.empty()


@pytest.mark.parametrize("role", ROLES)
async def test_measuring_that_is_cancelled_leaves_its_pong_to_nobody(plain, role):
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        transport = listener.transport
        measuring = asyncio.ensure_future(transport.measure_roundtrip_time(1))
        await peer.expect(PING)
        measuring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await measuring
        again = asyncio.ensure_future(transport.measure_roundtrip_time(1))
        await asyncio.sleep(0)
        peer.send(PONG, b"late")
        await peer.expect(PING)
        assert not again.done()
        peer.send(PONG)
        assert len(await soon(again)) == 1


@pytest.mark.parametrize("how", ["reset", "close", "disconnect"])
@pytest.mark.parametrize("role", ROLES)
async def test_measuring_ends_with_the_connection(plain, role, how):
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        measuring = asyncio.ensure_future(listener.transport.measure_roundtrip_time(1))
        await peer.expect(PING)
        if how == "reset":
            peer.reset()
        elif how == "close":
            peer.write(peer.close_frame(1000))
            await peer.expect_close(1000)
            peer.abort()
        else:
            listener.transport.disconnect(False)
        with pytest.raises(ConnectionResetError):
            await soon(measuring)


async def test_auto_ping_waits_while_somebody_measures(plain):
    """Whoever measures pings by himself; a ping of another kind would disturb it."""
    listener = Recorder()
    async with against(plain, "server", listener, **pings(SHORT, SHORT)) as peer:
        measuring = asyncio.ensure_future(listener.transport.measure_roundtrip_time(1))
        await peer.expect(PING)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 4 * SHORT)
        peer.send(PONG)
        await soon(measuring)
        await peer.expect(PING)
        peer.send(PONG)


async def test_auto_ping_waits_while_reading_is_paused(plain):
    listener = Recorder()
    async with against(plain, "server", listener, **pings(SHORT, SHORT)) as peer:
        listener.transport.pause_reading()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 4 * SHORT)
        listener.transport.resume_reading()
        await peer.expect(PING)
        peer.send(PONG)


async def test_bad_arguments():
    for options in (
        {"auto_ping_idle_timeout": 0},
        {"auto_ping_reply_timeout": -1},
        {"auto_ping_strategy": 3},
        {"enable_auto_ping": True, "auto_ping_idle_timeout": 1, "auto_ping_reply_timeout": 2},
    ):
        with pytest.raises(ValueError, match=r"auto_ping|WSAutoPingStrategy"):
            await ws_connect(Recorder, "ws://127.0.0.1:1/", **options)
        with pytest.raises(ValueError, match=r"auto_ping|WSAutoPingStrategy"):
            await ws_create_server(lambda _: Recorder(), "127.0.0.1", 0, **options)
