"""assemble_messages=True: whole messages, their text and their size."""

from __future__ import annotations

import asyncio

import pytest
from helpers import Recorder
from raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    TEXT,
    against,
    pattern,
    soon,
)

from picows_c import WSMsgType, WSProtocolError

# Each boundary of RFC 3629: first and last of each length, around the surrogates, the last of all.
CHARACTERS = [
    "\0", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000",
    "\U0010ffff",
]  # fmt: skip
GOOD = "".join(CHARACTERS).encode() * 2
# What must fail, and after how many bytes that is known.
BAD = {
    b"\x80": 1,
    b"\xbf": 1,
    b"\xc0\x80": 1,
    b"\xc1\xbf": 1,
    b"\xc2\x41": 2,
    b"\xe0\x9f\xbf": 2,
    b"\xe1\x80\x41": 3,
    b"\xed\xa0\x80": 2,
    b"\xed\xbf\xbf": 2,
    b"\xf0\x8f\xbf\xbf": 2,
    b"\xf1\x80\x80\x41": 4,
    b"\xf4\x90\x80\x80": 2,
    b"\xf5\x80\x80\x80": 1,
    b"\xfe": 1,
    b"\xff": 1,
}


def whole(**options):
    return {"assemble_messages": True, **options}


async def received(listener):
    frame = await soon(listener.frames.get())
    assert (frame.fin, frame.rsv1, frame.rsv2, frame.rsv3) == (True, False, False, False)
    return frame.msg_type, bytes(frame)


@pytest.mark.parametrize("role", ROLES)
async def test_fragments_become_one_message(net, role):
    listener = Recorder()
    async with against(net, role, listener, **whole()) as peer:
        for size in (0, 1, 2, 125, 128, 129, 1000, 70_000):
            data = pattern(size)
            for cut in (0, size // 3, size):
                peer.write(
                    peer.frame(BINARY, data[:cut], fin=False),
                    peer.frame(PING, b"between"),
                    peer.frame(CONTINUATION, b"", fin=False),
                    peer.frame(PONG, b"not asked for"),
                    peer.frame(CONTINUATION, data[cut:]),
                )
                assert await received(listener) == (PONG, b"not asked for")
                assert await received(listener) == (BINARY, data)
                await peer.expect(PONG, b"between")
            peer.send(BINARY, data)
            assert await received(listener) == (BINARY, data)


@pytest.mark.parametrize("role", ROLES)
async def test_many_small_fragments(plain, role):
    """Their number costs linear time: a quadratic way would not come to its end."""
    count = 200_000
    listener = Recorder()
    async with against(plain, role, listener, **whole()) as peer:
        one = peer.frame(CONTINUATION, b"x", fin=False, mask=bytes(4) if role == "server" else None)
        peer.write(peer.frame(TEXT, b"x", fin=False), one * (count - 2))
        peer.send(CONTINUATION, b"x")
        assert await received(listener) == (TEXT, b"x" * count)
        assert listener.transport.stats.messages_received == 1
        assert listener.transport.stats.frames_received == count


@pytest.mark.parametrize("role", ROLES)
async def test_messages_may_be_kept(plain, role):
    listener = Recorder()
    async with against(plain, role, listener, **whole()) as peer:
        sizes = [0, 1, 128, 129, 5000, 70_000]
        for i, size in enumerate(sizes):
            data = pattern(size, i)
            peer.send(BINARY, data)
            peer.send(BINARY, data[:7], fin=False)
            peer.send(CONTINUATION, data[7:])
        kept = [await soon(listener.frames.get()) for _ in range(2 * len(sizes))]
        peer.send(BINARY, bytes(200_000))
        await received(listener)
    for i, size in enumerate(sizes):
        assert bytes(kept[2 * i]) == bytes(kept[2 * i + 1]) == pattern(size, i)


@pytest.mark.parametrize("role", ROLES)
async def test_last_in_buffer_counts_messages(plain, role):
    listener = Recorder()
    async with against(plain, role, listener, **whole()) as peer:
        peer.write(
            peer.frame(TEXT, b"one"),
            peer.frame(TEXT, b"two"),
            peer.frame(TEXT, b"begun", fin=False),
        )
        frames = [await soon(listener.frames.get()) for _ in range(2)]
        # The fragment is none that will be delivered.
        assert [frame.last_in_buffer for frame in frames] == [False, True]
        peer.send(CONTINUATION, b"")
        assert (await soon(listener.frames.get())).last_in_buffer


# ---- size ----


@pytest.mark.parametrize("limit", [1, 125, 1000, 70_000])
@pytest.mark.parametrize("role", ROLES)
async def test_the_limit_is_exact(plain, role, limit):
    listener = Recorder()
    async with against(plain, role, listener, **whole(max_message_size=limit)) as peer:
        for kind in (TEXT, BINARY):
            peer.send(kind, b"x" * limit)
            assert await received(listener) == (kind, b"x" * limit)
            peer.send(kind, b"x" * (limit - 1), fin=False)
            peer.send(CONTINUATION, b"x", fin=False)
            peer.send(CONTINUATION, b"")
            assert await received(listener) == (kind, b"x" * limit)
        peer.send(TEXT, b"x" * limit, fin=False)
        peer.send(CONTINUATION, b"x", fin=False)
        await peer.expect_close(1009, b"message larger than max_message_size")
        assert listener.frames.empty()


@pytest.mark.parametrize("fragments", [False, True])
@pytest.mark.parametrize("role", ROLES)
async def test_too_much_is_refused_by_its_head(plain, role, fragments):
    """Nobody waits for, or keeps, what will not be taken."""
    listener = Recorder()
    async with against(plain, role, listener, **whole(max_message_size=1000)) as peer:
        if fragments:
            peer.send(BINARY, bytes(600), fin=False)
            peer.write(peer.frame(CONTINUATION, bytes(401))[:10])
        else:
            peer.write(peer.frame(BINARY, bytes(1001))[:10])
        await peer.expect_close(1009)


@pytest.mark.parametrize("role", ROLES)
async def test_max_frame_size_goes_on_counting(plain, role):
    listener = Recorder()
    async with against(plain, role, listener, **whole(max_frame_size=100)) as peer:
        peer.send(BINARY, bytes(100), fin=False)
        peer.send(CONTINUATION, bytes(100))
        assert await received(listener) == (BINARY, bytes(200))
        peer.send(BINARY, bytes(101))
        await peer.expect_close(1009, b"frame larger than max_frame_size")


# ---- text ----


@pytest.mark.parametrize("role", ROLES)
async def test_text_in_two_frames_cut_anywhere(net, role):
    listener = Recorder()
    async with against(net, role, listener, **whole()) as peer:
        for cut in range(len(GOOD) + 1):
            peer.send(TEXT, GOOD[:cut], fin=False)
            peer.send(CONTINUATION, GOOD[cut:])
        peer.send(TEXT, GOOD)
        for _ in range(len(GOOD) + 2):
            frame = await soon(listener.frames.get())
            assert frame.get_payload_as_utf8_text().encode() == GOOD
        # Bytes are nobody's business.
        peer.send(BINARY, b"\xff\xfe", fin=False)
        peer.send(CONTINUATION, b"\xc0")
        assert await received(listener) == (BINARY, b"\xff\xfe\xc0")


@pytest.mark.parametrize("role", ROLES)
async def test_text_is_the_text_that_was_sent(plain, role):
    """ASCII or not, long or short, in pieces or whole."""
    texts = ["", "x", "é", "xé", "éx", "x" * 126, "x" * 129, "x" * 70_000]
    texts += [f"{'x' * 1000}é", f"é{'x' * 1000}", f"{'x' * 64}é{'x' * 64}"]
    listener = Recorder()
    async with against(plain, role, listener, **whole()) as peer:
        for text in texts:
            data = text.encode()
            for cut in {None, 0, 1, len(data) // 2, len(data)}:
                if cut is None:
                    peer.send(TEXT, data)
                else:
                    peer.send(TEXT, data[:cut], fin=False)
                    peer.send(CONTINUATION, data[cut:])
                got = (await soon(listener.frames.get())).get_payload_as_utf8_text()
                assert (got, got.isascii()) == (text, text.isascii())


@pytest.mark.parametrize("role", ROLES)
async def test_a_text_has_no_say_in_what_comes_after_it(plain, role):
    """A frame that nobody keeps is filled again."""

    class Decodes(Recorder):
        def on_ws_frame(self, transport, frame):
            try:
                self.frames.put_nowait(frame.get_payload_as_utf8_text())
            except UnicodeDecodeError:
                self.frames.put_nowait(None)

    listener = Decodes()
    async with against(plain, role, listener, **whole()) as peer:
        for cut in (False, True):
            peer.send(TEXT, b"ASCII")
            if cut:
                peer.send(BINARY, b"\xff", fin=False)
                peer.send(CONTINUATION, b"\xff")
            else:
                peer.send(BINARY, b"\xff\xff")
            assert await soon(listener.frames.get()) == "ASCII"
            assert await soon(listener.frames.get()) is None


@pytest.mark.parametrize("role", ROLES)
async def test_text_that_arrives_byte_by_byte(plain, role):
    """A frame's payload is unmasked and looked at as it comes; it is the same in the end."""
    listener = Recorder()
    async with against(plain, role, listener, **whole()) as peer:
        text = GOOD * 5
        frame = peer.frame(TEXT, text)
        for at in range(0, len(frame), 13):
            peer.write(frame[at : at + 13])
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert await received(listener) == (TEXT, text)
        peer.write(peer.frame(TEXT, text[:50], fin=False))
        frame = peer.frame(CONTINUATION, text[50:])
        for at in range(0, len(frame), 7):
            peer.write(frame[at : at + 7])
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert await received(listener) == (TEXT, text)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.hex())
@pytest.mark.parametrize("role", ROLES)
async def test_bad_text_fails_at_its_first_bad_byte(plain, role, bad):
    """1007 comes although the frame, and the message, are far from complete."""
    known = bad[: BAD[bad]]
    for before in (b"", b"ascii, and more than one block of it", GOOD):
        for in_frame in (False, True):
            listener = Recorder()
            async with against(plain, role, listener, **whole()) as peer:
                if in_frame:
                    peer.write(peer.frame(TEXT, before + known + bytes(1000))[: -1000 or None])
                else:
                    peer.send(TEXT, before, fin=False)
                    peer.send(CONTINUATION, known, fin=False)
                await peer.expect_close(1007, b"text that is not UTF-8")
                peer.abort()
                await soon(listener.disconnected.wait())
                if role == "client":
                    with pytest.raises(WSProtocolError, match="UTF-8"):
                        await listener.transport.wait_disconnected()
            assert listener.frames.empty()


@pytest.mark.parametrize("role", ROLES)
async def test_text_that_ends_within_a_character(plain, role):
    for cut in ("\u00e9", "\u20ac", "\U0001f600"):
        for fragments in (False, True):
            listener = Recorder()
            async with against(plain, role, listener, **whole()) as peer:
                data = b"abc" + cut.encode()[:-1]
                if fragments:
                    peer.send(TEXT, data, fin=False)
                    peer.send(CONTINUATION, b"")
                else:
                    peer.send(TEXT, data)
                await peer.expect_close(1007)
            assert listener.frames.empty()


# ---- order ----


@pytest.mark.parametrize("role", ROLES)
async def test_order_of_fragments(plain, role):
    for frames in ([(CONTINUATION, True)], [(TEXT, False), (TEXT, True)]):
        listener = Recorder()
        async with against(plain, role, listener, **whole()) as peer:
            peer.write(*(peer.frame(kind, b"x", fin=fin) for kind, fin in frames))
            await peer.expect_close(1002)


@pytest.mark.parametrize("role", ROLES)
async def test_a_close_within_a_message(plain, role):
    listener = Recorder()
    async with against(plain, role, listener, **whole()) as peer:
        peer.send(TEXT, b"begun", fin=False)
        peer.write(peer.close_frame(1000))
        await peer.expect_close(1000)
        frame = await soon(listener.frames.get())
        assert frame.msg_type == CLOSE
        peer.writer.close()


@pytest.mark.parametrize("role", ROLES)
async def test_sending_in_fragments(plain, role):
    listener = Recorder()
    async with against(plain, role, listener, **whole()) as peer:
        send = listener.transport.send
        with pytest.raises(ValueError, match="CONTINUATION"):
            send(WSMsgType.CONTINUATION, b"x")
        send(WSMsgType.TEXT, "one ", fin=False)
        with pytest.raises(ValueError, match="not finished"):
            send(WSMsgType.TEXT, "another")
        listener.transport.send_ping(b"between")
        send(WSMsgType.CONTINUATION, "two")
        assert (await peer.next())[:3] == (TEXT, b"one ", False)
        await peer.expect(PING, b"between")
        assert (await peer.next())[:3] == (CONTINUATION, b"two", True)
