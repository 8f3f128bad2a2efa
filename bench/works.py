"""What is measured, and the goals: one work for each row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Program:
    """One end: a library at one of its settings. "C" is the reference of bench/c."""

    library: str
    options: Mapping[str, Any] = field(default_factory=dict)
    # Where another build of it lies than the one that Python finds.
    folder: str = ""


@dataclass(frozen=True)
class Contestant:
    """Who takes a turn: what stands at the ends; None is whoever makes the load."""

    name: str
    server: Optional[Program] = None
    client: Optional[Program] = None
    # Another loop than the row's.
    loop: Optional[str] = None
    # Which part of the messages it gets: a slow one need not take all evening.
    pace: float = 1.0


@dataclass(frozen=True)
class Case:
    """One measurement of a work."""

    name: str
    size: int
    count: int
    connections: int = 1
    batch: int = 1


@dataclass(frozen=True)
class Goal:
    """``figure`` of ours is ``relation`` ``factor`` times that of each of ``against``.

    With ``base`` it is compared with our own figure in the case of that name, an earlier one.
    """

    figure: str
    relation: str
    factor: float
    against: tuple[str, ...] = ()
    loops: tuple[str, ...] = ("uvloop", "asyncio")
    cases: tuple[str, ...] = ()
    base: str = ""

    @property
    def whom(self) -> str:
        names = [name for name in self.against if name not in PICOWS]
        if set(PICOWS) <= set(self.against):
            names.insert(0, "the best picows")
        elif len(names) < len(self.against):
            names.insert(0, next(name for name in self.against if name in PICOWS))
        return " and ".join(names) or f"that of {self.base}"

    def holds(self, ratio: float) -> bool:
        return ratio >= self.factor if self.relation == ">=" else ratio <= self.factor


@dataclass(frozen=True)
class Work:
    """Roles, cases, who takes part (ours first) and the goals."""

    name: str
    title: str
    server: str
    client: str
    # Whose CPU counts; the other end makes the load, on the other core.
    measured: tuple[str, ...]
    cases: tuple[Case, ...]
    contestants: tuple[Contestant, ...]
    goals: tuple[Goal, ...]
    one_core: bool = False
    loops: tuple[str, ...] = ("uvloop", "asyncio")
    tls: bool = False
    latency: bool = False
    bystander: bool = False
    # How it is measured: "turn", "memory" or "mask".
    kind: str = "turn"
    # What a source sends: "frames", or "deflated" for compressed messages.
    content: str = "frames"
    # The figures that a table shows.
    figures: tuple[str, ...] = ("rate", "user_us", "cpu_us")
    # The loops on which its first case is part of --quick.
    quick: tuple[str, ...] = ()


# ---- who takes part ----

OURS, BEFORE = "picows_c", "the build before"
FASTNET, PLAIN = "picows, aiofastnet", "picows, loop's transports"
PICOWS = (FASTNET, PLAIN)
C_CLIENT, C_SERVER = "C client (epoll)", "C server (epoll)"
C_BOTH = "C client and server (epoll)"
OTHER_UVLOOP = "picows_c on uvloop"
ALONE = "loop alone, no WebSocket"
WEBSOCKETS, AIOHTTP, LAYER = "websockets", "aiohttp", "picows.websockets"

C = Program("C")
PICOWS_PROGRAMS = {
    FASTNET: Program("picows", {"use_aiofastnet": True}),
    PLAIN: Program("picows", {"use_aiofastnet": False}),
}
# At their best: without compression, without limits that cost, without pings.
WEBSOCKETS_BEST = {
    "compression": None, "max_queue": None, "max_size": None, "ping_interval": None,
}  # fmt: skip
# One message of the queue's limit would be 16 MiB of memory: its default bounds that.
WEBSOCKETS_BOUNDED = {"compression": None, "max_size": None, "ping_interval": None}
AIOHTTP_CLIENT = {"max_msg_size": 0}
AIOHTTP_SERVER = {"max_msg_size": 0, "compress": False}
LAYER_BEST = {**WEBSOCKETS_BEST, "use_aiofastnet": True}


def both(name: str, program: Program, **more: Any) -> Contestant:
    return Contestant(name, program, program, **more)


def at(end: str, name: str, program: Program, **more: Any) -> Contestant:
    """Return who stands at one end, against the load."""
    if end == "server":
        return Contestant(name, server=program, **more)
    return Contestant(name, client=program, **more)


def ours(end: str = "", **options: Any) -> Contestant:
    program = Program("picows_c", options)
    return at(end, OURS, program) if end else both(OURS, program)


def loops_way(end: str = "") -> Contestant:
    program = Program("picows_c", {"transport": "loop"})
    name = "picows_c, loop's way"
    return at(end, name, program) if end else both(name, program)


def picows(end: str = "", **more: Any) -> tuple[Contestant, ...]:
    return tuple(
        at(end, name, program, **more) if end else both(name, program, **more)
        for name, program in PICOWS_PROGRAMS.items()
    )


def on_uvloop(end: str = "") -> Contestant:
    program = Program("picows_c")
    more: dict[str, Any] = {"loop": "uvloop"}
    return at(end, OTHER_UVLOOP, program, **more) if end else both(OTHER_UVLOOP, program, **more)


def alone(end: str = "") -> Contestant:
    """Return who has no library; never a rival: it shows what the loop and TCP take."""
    program = Program("asyncio")
    return at(end, ALONE, program) if end else both(ALONE, program)


def servers(pace: float = 1.0) -> tuple[Contestant, ...]:
    """Return the servers of the others."""
    return (
        at("server", WEBSOCKETS, Program("websockets", WEBSOCKETS_BEST), pace=pace),
        at("server", AIOHTTP, Program("aiohttp", AIOHTTP_SERVER), pace=pace),
    )


def message_receivers(compressed: bool) -> tuple[Contestant, ...]:
    more = {"compression": "deflate"} if compressed else {}
    aiohttp = {**AIOHTTP_CLIENT, "compress": 15} if compressed else AIOHTTP_CLIENT
    mine: dict[str, Any] = {"assemble_messages": True}
    if compressed:
        mine["compression"] = True
    return (
        ours("client", **mine),
        at("client", LAYER, Program("picows.websockets", {**LAYER_BEST, **more}), pace=0.5),
        at("client", WEBSOCKETS, Program("websockets", {**WEBSOCKETS_BEST, **more}), pace=0.5),
        at("client", AIOHTTP, Program("aiohttp", aiohttp), pace=0.5),
    )


def beside(work: Work, folder: str) -> Work:
    """Return a work with another build of ours in it, and without goals."""

    def there(program: Optional[Program]) -> Optional[Program]:
        return None if program is None else replace(program, folder=folder)

    mine, *rest = work.contestants
    before = replace(mine, name=BEFORE, server=there(mine.server), client=there(mine.client))
    return replace(work, contestants=(mine, before, *rest), goals=())


# ---- the table ----

BOTH = ("client", "server")
UVLOOP, ASYNCIO = ("uvloop",), ("asyncio",)
PEERS = (WEBSOCKETS, AIOHTTP)
PYTHONS = (*PICOWS, WEBSOCKETS, AIOHTTP)
MESSAGES_GOALS = (
    Goal("rate", ">=", 3.0, (WEBSOCKETS,)),
    Goal("rate", ">=", 1.3, (LAYER, AIOHTTP)),
)

_ALL = (
    Work(
        "echo",
        "echo round trip, client and server on one core",
        "echo",
        "ask",
        BOTH,
        (Case("256 B", 256, 100_000),),
        (
            ours(),
            loops_way(),
            *picows(),
            Contestant(C_CLIENT, server=Program("picows_c"), client=C),
            both(C_BOTH, C),
            alone(),
        ),
        (
            Goal("rate", ">=", 1.1, PICOWS, UVLOOP),
            Goal("user_us", "<=", 0.6, PICOWS, UVLOOP),
            Goal("rate", ">=", 0.9, (C_CLIENT,), UVLOOP),
            Goal("rate", ">=", 1.05, PICOWS, ASYNCIO),
            Goal("user_us", "<=", 0.8, PICOWS, ASYNCIO),
        ),
        one_core=True,
        quick=("uvloop", "asyncio"),
    ),
    Work(
        "echo-large",
        "echo round trip of large messages, client and server on one core",
        "echo",
        "ask",
        BOTH,
        (Case("8 KiB", 8 * KIB, 60_000), Case("100 KB", 100_000, 15_000)),
        (ours(), *picows()),
        (
            Goal("rate", ">=", 1.05, PICOWS),
            Goal("user_us", "<=", 0.6, PICOWS, cases=("8 KiB",)),
            Goal("user_us", "<=", 0.9, PICOWS, cases=("100 KB",)),
        ),
        one_core=True,
    ),
    Work(
        "server",
        "server, connections in ping-pong",
        "echo",
        "ask",
        ("server",),
        (Case("100", 64, 300_000, 100), Case("1,000", 64, 300_000, 1000)),
        (
            ours("server"),
            loops_way("server"),
            *picows("server"),
            on_uvloop("server"),
            at("server", C_SERVER, C),
            alone("server"),
        ),
        (
            Goal("user_us", "<=", 0.3, PICOWS, ASYNCIO),
            Goal("rate", ">=", 0.9, (OTHER_UVLOOP,), ASYNCIO),
            Goal("user_us", "<=", 0.5, PICOWS, UVLOOP),
            Goal("rate", ">=", 0.85, (C_SERVER,), UVLOOP),
        ),
        quick=("uvloop", "asyncio"),
        figures=("rate", "user_us", "cpu_us", "busy"),
    ),
    Work(
        "stream",
        "receiving a stream of 32-byte frames",
        "source",
        "sink",
        ("client",),
        (Case("32 B", 32, 8_000_000),),
        (ours("client"), *picows("client", pace=0.5)),
        (Goal("user_us", "<=", 0.4, PICOWS),),
        quick=UVLOOP,
    ),
    Work(
        "coalesced",
        "server, 50 messages in flight from a client that batches them",
        "echo",
        "ask",
        ("server",),
        (Case("64 B", 64, 3_000_000, batch=50),),
        (
            ours("server", coalesce_writes=True),
            *picows("server", pace=0.2),
            at("server", C_SERVER, C),
        ),
        (Goal("rate", ">=", 2.0, PICOWS), Goal("cpu_us", "<=", 0.3, PICOWS)),
        quick=UVLOOP,
    ),
    Work(
        "busy-poll",
        "echo round trip with busy polling, client and server on two cores",
        "echo",
        "ask",
        BOTH,
        (Case("256 B", 256, 100_000),),
        (
            ours(busy_poll=0.001),
            both("picows_c, no busy_poll", Program("picows_c")),
            *picows(),
            Contestant(
                WEBSOCKETS,
                Program("websockets", WEBSOCKETS_BEST),
                Program("websockets", WEBSOCKETS_BEST),
                pace=0.3,
            ),
            Contestant(
                AIOHTTP,
                Program("aiohttp", AIOHTTP_SERVER),
                Program("aiohttp", AIOHTTP_CLIENT),
                pace=0.3,
            ),
            both(C_BOTH, C),
        ),
        (Goal("rate", ">=", 2.0, PYTHONS), Goal("rate", ">=", 1.5, (C_BOTH,))),
    ),
    Work(
        "busy-poll-beside",
        "a slow connection and a 1 ms timer beside one that polls busily",
        "echo",
        "ask",
        ("client",),
        (Case("256 B", 256, 100_000),),
        (ours(busy_poll=0.001), both("picows_c, no busy_poll", Program("picows_c"))),
        tuple(
            Goal(figure, "<=", 1.0, ("picows_c, no busy_poll",))
            for figure in ("other_p50_us", "other_p99_us", "timer_p50_us", "timer_p99_us")
        ),
        bystander=True,
        figures=("rate", "other_p50_us", "other_p99_us", "timer_p50_us", "timer_p99_us"),
    ),
    Work(
        "tls",
        "echo round trip over TLS, client and server on one core",
        "echo",
        "ask",
        BOTH,
        (Case("256 B", 256, 60_000),),
        (ours(), *picows(), on_uvloop()),
        (
            Goal("rate", ">=", 1.0, (FASTNET,)),
            Goal("user_us", "<=", 0.85, (FASTNET,)),
            Goal("rate", ">=", 0.8, (OTHER_UVLOOP,), ASYNCIO),
            Goal("rate", "<=", 1.25, (OTHER_UVLOOP,), ASYNCIO),
        ),
        one_core=True,
        tls=True,
        quick=UVLOOP,
    ),
    Work(
        "accept",
        "server, opening handshakes",
        "gate",
        "knock",
        ("server",),
        (Case("waves of 500", 0, 20, 500),),
        (ours("server"), *picows("server", pace=0.5), *servers(pace=0.2), alone("server")),
        (Goal("cpu_us", "<=", 0.4, PYTHONS), Goal("user_us", "<=", 0.4, PYTHONS)),
        quick=UVLOOP,
    ),
    Work(
        "idle",
        "resident memory of an idle connection, after one echo",
        "idle",
        "stay",
        ("server",),
        (Case("256 B", 256, 1, 1000),),
        (ours("server"), *picows("server"), *servers()),
        (Goal("resident_bytes", "<=", 0.4, PYTHONS),),
        kind="memory",
        figures=("resident_bytes",),
        quick=UVLOOP,
    ),
    Work(
        "idle-compressed",
        "the same where permessage-deflate was agreed on, as browsers offer it",
        "idle",
        "visitors",
        ("server",),
        (Case("untouched", 500, 0, 1000), Case("after an echo", 500, 1, 1000)),
        (
            ours("server", assemble_messages=True, compression=True),
            at("server", AIOHTTP, Program("aiohttp")),
            at("server", WEBSOCKETS, Program("websockets", {"ping_interval": None})),
        ),
        (),
        kind="memory",
        figures=("resident_bytes",),
        loops=UVLOOP,
    ),
    Work(
        "broadcast",
        "one message to 1,000 clients",
        "broadcaster",
        "hear",
        ("server",),
        (Case("256 B", 256, 500, 1000),),
        (ours("server"), *picows("server"), alone("server")),
        (Goal("cpu_us", "<=", 0.5, PICOWS),),
    ),
    Work(
        "mask",
        "masking, all lengths, 16 alignments, in place and from one buffer to another",
        "",
        "",
        (),
        (Case("1 B to 16 MiB", 0, 0),),
        (),
        (
            Goal("worst", "<=", 1.0, ("picows",), UVLOOP),
            Goal("speed", ">=", 0.9, ("key 0",), UVLOOP),
        ),
        kind="mask",
        loops=UVLOOP,
    ),
    Work(
        "consumer",
        "receiving more slowly than the wire: each message is hashed (MD5)",
        "source",
        "consumer",
        ("client",),
        tuple(
            Case(name, size, GIB_OF_IT // size)
            for GIB_OF_IT in (1024 * MIB,)
            for name, size in (
                ("32 KiB", 32 * KIB),
                ("256 KiB", 256 * KIB),
                ("1 MiB", MIB),
                ("4 MiB", 4 * MIB),
            )
        ),
        (
            ours("client", assemble_messages=True),
            *picows("client"),
            at("client", WEBSOCKETS, Program("websockets", WEBSOCKETS_BOUNDED)),
        ),
        (Goal("rate", ">=", 1.0, (WEBSOCKETS,)),),
    ),
    Work(
        "latency",
        "round trip times that a client sees, server on the other core",
        "echo",
        "ask",
        ("server",),
        (Case("1", 256, 100_000), Case("100", 256, 300_000, 100)),
        (ours("server"), *picows("server"), at("server", C_SERVER, C), alone("server")),
        tuple(Goal(figure, "<=", 1.0, PICOWS) for figure in ("p50_us", "p99_us", "p999_us")),
        latency=True,
        figures=("rate", "p50_us", "p99_us", "p999_us"),
    ),
    Work(
        "growth",
        "server, cost of an echoed message as connections grow",
        "echo",
        "ask",
        ("server",),
        tuple(
            Case(f"{connections:,}", 64, 200_000, connections)
            for connections in (1, 10, 100, 1000, 10_000)
        ),
        (ours("server"), *picows("server"), at("server", C_SERVER, C), alone("server")),
        (
            Goal("cpu_us", "<=", 1.25, base="10", cases=("100", "1,000", "10,000")),
            Goal("user_us", "<=", 1.25, base="10", cases=("100", "1,000", "10,000")),
            Goal("cpu_us", "<=", 1.0, PICOWS),
        ),
    ),
    Work(
        "messages",
        "receiving whole messages, each as bytes",
        "source",
        "receiver",
        ("client",),
        (Case("32 B", 32, 6_000_000),),
        message_receivers(compressed=False),
        MESSAGES_GOALS,
        quick=UVLOOP,
    ),
    Work(
        "messages-compressed",
        "receiving whole messages that were compressed, each as bytes",
        "source",
        "receiver",
        ("client",),
        (Case("256 B", 256, 2_000_000),),
        message_receivers(compressed=True),
        MESSAGES_GOALS,
        content="deflated",
    ),
    Work(
        "messages-echo",
        "echo round trip of whole messages, client and server on one core",
        "echo",
        "ask",
        BOTH,
        (Case("256 B", 256, 100_000),),
        (
            ours(assemble_messages=True),
            both(LAYER, Program("picows.websockets", LAYER_BEST), pace=0.6),
            both(WEBSOCKETS, Program("websockets", WEBSOCKETS_BEST), pace=0.2),
            Contestant(
                AIOHTTP,
                Program("aiohttp", AIOHTTP_SERVER),
                Program("aiohttp", AIOHTTP_CLIENT),
                pace=0.2,
            ),
        ),
        MESSAGES_GOALS,
        one_core=True,
    ),
)

WORKS = {work.name: work for work in _ALL}
