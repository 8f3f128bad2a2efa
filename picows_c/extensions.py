"""Sec-WebSocket-Extensions (RFC 6455, 9.1): its grammar, not what the extensions mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Optional

EXTENSIONS = "Sec-WebSocket-Extensions"

# RFC 9110, 5.6.2: token.
_TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN = re.compile(f"{_TCHAR}+")
# RFC 6455, 9.1: "When using the quoted-string syntax variant, the value after quoted-string
# unescaping MUST conform to the 'token' ABNF." So there is no comma and no semicolon in it.
_PARAMETER = re.compile(
    rf'({_TCHAR}+)(?:[ \t]*=[ \t]*(?:({_TCHAR}+)|"((?:\\?{_TCHAR})+)"))?',
)


class Extension(NamedTuple):
    """One extension, as a client offers it or a server agrees on it.

    parameters: names and values in the order in which they came; None where there is no value.
    """

    name: str
    parameters: tuple[tuple[str, Optional[str]], ...] = ()


def parse_extensions(values: Iterable[str]) -> list[Extension]:
    """Return the extensions that all these headers name, in their order.

    RFC 6455, 9.1: "If a value is received by either the client or the server during negotiation
    that does not conform to the ABNF below, the recipient of such malformed data MUST immediately
    _Fail the WebSocket Connection_." Raises ValueError for those.
    """
    values = list(values)
    found = []
    # "Note that like other HTTP header fields, this header field MAY be split or combined across
    # multiple lines."
    for element in ",".join(values).split(","):
        # RFC 9110, 5.6.1.2: "a recipient MUST parse and ignore a reasonable number of empty list
        # elements".
        if not element.strip(" \t"):
            continue
        name, *parameters = (part.strip(" \t") for part in element.split(";"))
        if not TOKEN.fullmatch(name):
            raise ValueError(f"not the name of an extension: {name!r}")
        found.append(Extension(name, tuple(_parse_parameter(text) for text in parameters)))
    # An empty field is no field.
    if not found and any(values):
        raise ValueError("no extension in the header")
    return found


def _parse_parameter(text: str) -> tuple[str, Optional[str]]:
    match = _PARAMETER.fullmatch(text)
    if match is None:
        raise ValueError(f"not a parameter of an extension: {text!r}")
    name, token, quoted = match.groups()
    return name, token if quoted is None else quoted.replace("\\", "")
