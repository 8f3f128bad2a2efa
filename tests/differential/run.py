"""Run the scripts with one library on one loop: run.py MODULE LOOP [NAME...].

Prints a line of JSON for each step, ``[script, step, value]``, and ``[script, null, end]`` behind
each script, where end is null or what went wrong. Knows neither library.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import json
import logging
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPT_TIMEOUT = 20.0
sys.path += [str(HERE), str(HERE.parent)]  # for kit and wire


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def plain(value: Any) -> Any:
    """Return what JSON has no type for as text."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return repr(bytes(value))
    if isinstance(value, BaseException):
        return type(value).__name__
    raise TypeError(f"a step's value cannot be {type(value).__name__}")


def tell(script: str, step: Any, value: Any) -> None:
    print(json.dumps([script, step, value], default=plain), flush=True)


def run_script(ws: Any, path: Path, loop: asyncio.AbstractEventLoop) -> Any:
    log = functools.partial(tell, path.stem)
    try:
        main = runpy.run_path(str(path))["main"]
        loop.run_until_complete(asyncio.wait_for(main(ws, log), SCRIPT_TIMEOUT))
    except asyncio.TimeoutError:
        return f"takes more than {SCRIPT_TIMEOUT} s"
    except Exception:
        return traceback.format_exc()
    return None


def main(module: str, kind: str, *names: str) -> None:
    ws = importlib.import_module(module)
    # What is logged is looked at by a script where it matters.
    logging.getLogger().addHandler(logging.NullHandler())
    for path in sorted(HERE.glob("scripts/*.py")):
        if names and path.stem not in names:
            continue
        loop = new_loop(kind)
        # What a script provokes may leave exceptions in tasks that nobody waits for.
        loop.set_exception_handler(lambda _loop, _context: None)
        end = run_script(ws, path, loop)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        loop.close()
        gc.collect()
        tell(path.stem, None, end)


if __name__ == "__main__":
    main(*sys.argv[1:])
