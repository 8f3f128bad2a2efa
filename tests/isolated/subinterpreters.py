"""Sub-interpreters, several at once and again and again: each imports the package and echoes.

    python subinterpreters.py (shared | own) COUNT ROUNDS

With ``own`` each has a GIL of its own. Prints "ok", or "missing" and what is.

What crashes CPython by itself is not tried: the standard library alone decides (3.12.1 does not
survive ``import asyncio``), and before 3.14 interpreters with a GIL follow each other (3.13.0's
_datetime cannot be imported by two at once).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

GIL, COUNT, ROUNDS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

CODE = """
import sys
sys.path[:] = {path!r}
import asyncio
from helpers import EchoListener, Recorder
from picows_c import WSMsgType, ws_connect, ws_create_server

async def main():
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, transport={way!r})
    url = f"ws://127.0.0.1:{{server.sockets[0].getsockname()[1]}}/"
    made = [await ws_connect(Recorder, url, transport={way!r}) for _ in range(3)]
    for size in (0, 100, 1000, 100_000):
        for client, listener in made:
            client.send(WSMsgType.BINARY, bytes(size))
            assert bytes(await listener.frames.get()) == bytes(size)
    for client, listener in made[1:]:
        client.disconnect()
        await client.wait_disconnected()
    server.close()
    return made[0]

loop = asyncio.new_event_loop()
kept = loop.run_until_complete(asyncio.wait_for(main(), 60))
if not {leaves}:
    kept[0].disconnect()
    loop.run_until_complete(kept[0].wait_disconnected())
    kept = None
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
with open({done!r}, "ab", buffering=0) as file:
    file.write(b".")
"""


CONTROL = "import asyncio, dataclasses, datetime, email.utils, hashlib, http, logging, ssl, zlib"


def machinery() -> tuple[Callable[[], Any], Callable[[Any, str], Any], Callable[[Any], None]]:
    """Return what makes, runs and destroys an interpreter; its names changed from 3.12 to 3.13."""
    own = GIL == "own"
    if sys.version_info >= (3, 13):
        import _interpreters as module

        return (
            lambda: module.create("isolated" if own else "legacy"),
            module.run_string,
            module.destroy,
        )
    import _xxsubinterpreters as module  # type: ignore[no-redef]

    return lambda: module.create(isolated=own), module.run_string, module.destroy


def at_once() -> bool:
    return GIL == "own" and (
        sys.version_info >= (3, 14) or not getattr(sys, "_is_gil_enabled", lambda: True)()
    )


def control() -> None:
    """Have the standard library imported, by interpreters one after the other."""
    create, run, destroy = machinery()
    for _ in range(3):
        interpreter = create()
        run(interpreter, CONTROL)
        destroy(interpreter)


def what_is_missing() -> str:
    if GIL == "shared":
        return ""
    if sys.version_info < (3, 12):
        return "a GIL for each interpreter (CPython 3.12)"
    command = [sys.executable, __file__, "own", "0", "0", "control"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return f"a CPython that survives its own library there: {sys.version.split()[0]} does not"
    return ""


def main() -> None:
    if sys.argv[4] == "control":
        control()
        return
    missing = what_is_missing()
    if missing:
        print("missing:", missing)
        return
    create, run, destroy = machinery()
    done = Path(sys.argv[4])
    done.touch()
    failed: list[Any] = []

    def one(number: int) -> None:
        for turn in range(ROUNDS):
            interpreter = create()
            code = CODE.format(
                path=sys.path,
                way="loop" if (number + turn) % 3 == 2 else "auto",
                leaves=(number + turn) % 2 == 0,
                done=str(done),
            )
            try:
                problem = run(interpreter, code)
            except Exception as error:  # before 3.13 it raises
                problem = error
            if problem is not None:
                failed.append(getattr(problem, "errdisplay", repr(problem)))
            destroy(interpreter)

    if at_once():
        threads = [threading.Thread(target=one, args=(number,)) for number in range(COUNT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        for number in range(COUNT):
            one(number)
    assert not failed, "\n".join(failed)
    assert done.stat().st_size == COUNT * ROUNDS
    print("ok")
    sys.stdout.flush()


os.environ.setdefault("MULTIDICT_NO_EXTENSIONS", "1")
main()
