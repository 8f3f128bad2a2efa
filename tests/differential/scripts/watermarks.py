"""pause_writing() and resume_writing(): the transport's watermarks reach the listener."""

import asyncio
import logging

from kit import ROLES, link, recorder


async def main(ws, log):
    for role in ROLES:
        for overridden in (True, False):
            calls = []
            resumed = asyncio.Event()
            listener = recorder(ws)
            if overridden:

                def pause(calls=calls):
                    calls.append("pause")

                def resume(calls=calls, resumed=resumed):
                    calls.append("resume")
                    resumed.set()

                type(listener).pause_writing = lambda _, pause=pause: pause()
                type(listener).resume_writing = lambda _, resume=resume: resume()
            handler = logging.Handler(logging.WARNING)
            handler.emit = lambda record, calls=calls: calls.append(record.levelname)
            logging.getLogger().addHandler(handler)
            async with link(ws, role, listener) as there:
                there.peer.writer.transport.pause_reading()
                there.transport.underlying_transport.set_write_buffer_limits(100_000, 10_000)
                payload = b"x" * 1_000_000
                for _ in range(10):
                    there.transport.send(ws.WSMsgType.BINARY, payload)
                while not calls:
                    await asyncio.sleep(0)
                paused = list(calls)
                there.peer.writer.transport.resume_reading()
                sizes = [len((await there.peer.receive())[1]) for _ in range(10)]
                while len(calls) < 2:
                    await asyncio.sleep(0)
                name = "overridden" if overridden else "not overridden"
                log(f"{role}: {name}", [paused, calls, sum(sizes)])
            logging.getLogger().removeHandler(handler)
