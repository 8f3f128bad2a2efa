"""What permessage-deflate costs and saves, by backend.

    python bench/deflate.py [--backend zlib isal.isal_zlib zlib_ng.zlib_ng] [--memory | --sizes]

Messages are JSON as a trading feed has it, each different from the one before. They go through the
same objects that a connection uses. Times are the best of five rounds, of one thread.

(nothing)  level and context takeover, for messages of about 1 KiB: size left, time for each
--sizes    the size that is left of small messages: where a threshold should be
--memory   the resident memory of 1,000 compressors and 1,000 decompressors, each, after use
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import random
import subprocess
import sys
import timeit
from types import ModuleType
from typing import Any

from picows_c import PermessageDeflate

BACKENDS = ["zlib", "isal.isal_zlib", "zlib_ng.zlib_ng"]
ROUNDS = 5
COUNT = 1000


def feed(size: int, count: int = COUNT) -> list[bytes]:
    """Return messages of about this size: trades, each with new numbers."""
    rng = random.Random(size)
    messages = []
    for number in range(count):
        trades: list[dict[str, Any]] = []
        while True:
            trades.append(
                {
                    "symbol": rng.choice(["BTC-USD", "ETH-USD", "SOL-USD", "XRP-EUR"]),
                    "price": f"{rng.uniform(1, 70000):.2f}",
                    "quantity": f"{rng.expovariate(1):.6f}",
                    "side": rng.choice(["buy", "sell"]),
                    "time": 1700000000000 + 17 * number,
                }
            )
            text = json.dumps({"channel": "trades", "data": trades}, separators=(",", ":"))
            if len(text) >= size:
                break
        messages.append(text.encode())
    return messages


def deflated(config: PermessageDeflate, messages: list[bytes], takeover: bool) -> list[bytes]:
    module: Any = config.backend
    compressor = config._new_compressor(config.server_max_window_bits or 15)
    mode = module.Z_SYNC_FLUSH if takeover else module.Z_FULL_FLUSH
    return [compressor.compress(message) + compressor.flush(mode) for message in messages]


def left(data: list[bytes], messages: list[bytes]) -> float:
    """Return the part that is sent: without the end of each message (RFC 7692, 7.2.1)."""
    return (sum(map(len, data)) - 4 * len(data)) / sum(map(len, messages))


def inflated(module: Any, data: list[bytes], bits: int, takeover: bool) -> None:
    decompressor = module.decompressobj(-bits)
    for piece in data:
        if not takeover:
            decompressor = module.decompressobj(-bits)
        decompressor.decompress(piece, 1 << 20)


def best(call: Any) -> float:
    """Return microseconds for each message."""
    return min(timeit.repeat(call, number=1, repeat=ROUNDS)) / COUNT * 1e6


def speeds(module: ModuleType) -> None:
    messages = feed(1024)
    levels = (1, 2, 3) if "isal" in module.__name__ else (1, 3, 6, 9)
    for takeover in (True, False):
        for level in levels:
            config = PermessageDeflate(level=level, backend=module)
            data = deflated(config, messages, takeover)
            out = best(lambda: deflated(config, messages, takeover))  # noqa: B023
            back = best(lambda: inflated(module, data, 12, takeover))  # noqa: B023
            print(
                f"{module.__name__:<16} {level:>5}  {'yes' if takeover else 'no':<8} "
                f"{left(data, messages):>8.1%} {out:>9.1f} us {back:>9.1f} us"
            )


def sizes(module: ModuleType) -> None:
    for size in (16, 32, 64, 96, 128, 256, 512, 1024):
        # Shorter than one trade: the beginning of each.
        messages = [message[:size] for message in feed(size)]
        config = PermessageDeflate(backend=module)
        with_it, without = (
            left(deflated(config, messages, takeover), messages) for takeover in (True, False)
        )
        print(f"{module.__name__:<16} {size:>5} B {with_it:>8.1%} {without:>8.1%}")


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def memory_of(module: ModuleType, kind: str, bits: int, mem_level: int) -> None:
    """Print the KiB of one object; in a process of its own, see memory()."""
    # What takes the most: random bytes for a compressor, text for a decompressor.
    data = random.Random(1).randbytes(70_000)
    config = PermessageDeflate(backend=module, mem_level=mem_level)
    plain = PermessageDeflate(server_max_window_bits=bits)
    stream = b"".join(deflated(plain, feed(1024, 70), True))
    backend: Any = module

    def used() -> Any:
        if kind == "out":
            compressor = config._new_compressor(bits)
            compressor.compress(data)
            compressor.flush(backend.Z_SYNC_FLUSH)
            return compressor
        decompressor = backend.decompressobj(-bits)
        decompressor.decompress(stream, 1 << 20)
        return decompressor

    kept = [used()]
    gc.collect()
    before = resident()
    kept += [used() for _ in range(COUNT)]
    print(f"{(resident() - before) / COUNT / 1024:.0f}")


def memory(module: ModuleType) -> None:
    def measure(*what: object) -> str:
        command = [sys.executable, __file__, "--one", module.__name__, *map(str, what)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    for bits in range(9, 16):
        out = [f"{measure('out', bits, mem_level):>4}" for mem_level in (1, 5, 8, 9)]
        print(f"{module.__name__:<16} {bits:>4} {' '.join(out)} {measure('in', bits, 5):>6}")


HEADS = {
    speeds: "backend          level  takeover     left   compress      inflate",
    sizes: "backend            size  takeover  without",
    memory: "backend          bits  KiB of a compressor, mem_level 1, 5, 8, 9; of a decompressor",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", nargs="+", default=BACKENDS)
    parser.add_argument("--memory", action="store_const", dest="verb", const=memory)
    parser.add_argument("--sizes", action="store_const", dest="verb", const=sizes)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, kind, bits, mem_level = options.one
        memory_of(importlib.import_module(name), kind, int(bits), int(mem_level))
        return
    verb = options.verb or speeds
    print(HEADS[verb])
    for name in options.backend:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            print(f"{name}: {error}")
        else:
            verb(module)


if __name__ == "__main__":
    main()
