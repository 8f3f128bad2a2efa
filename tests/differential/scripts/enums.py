"""The enums: members, and numbers without a name."""

from enum import IntEnum

from kit import attempt

DIFFERS = {
    "enum-range": [
        "WSMsgType 3",
        "WSCloseCode 999",
        "WSCloseCode 5000",
        "WSCloseCode 70000",
        "WSAutoPingStrategy 7",
    ],
    "enum-unnamed": ["name of 4000"],
}


async def main(ws, log):
    for name in ("WSMsgType", "WSCloseCode", "WSAutoPingStrategy"):
        kind = getattr(ws, name)
        log(f"{name} is an IntEnum", issubclass(kind, IntEnum))
        log(f"{name} members", sorted([int(member), member.name] for member in kind))
        log(f"{name} by name", [kind[member.name] is member for member in kind])
    for name, number in (
        ("WSMsgType", 3),
        ("WSMsgType", 9),
        ("WSCloseCode", 999),
        ("WSCloseCode", 1000),
        ("WSCloseCode", 3000),
        ("WSCloseCode", 4000),
        ("WSCloseCode", 4999),
        ("WSCloseCode", 5000),
        ("WSCloseCode", 70000),
        ("WSAutoPingStrategy", 7),
    ):
        log(f"{name} {number}", attempt(getattr(ws, name), number))
    log("type of 4000", isinstance(ws.WSCloseCode(4000), ws.WSCloseCode))
    log("name of 4000", ws.WSCloseCode(4000).name)
    log("a string", attempt(ws.WSCloseCode, "a"))
    log("PICOWS_DEBUG_LL", ws.PICOWS_DEBUG_LL)
