"""The exceptions: who derives from whom, arguments, attributes, texts."""

DIFFERS = {"url-value-error": ["WSInvalidURL is a ValueError"]}

NAMES = (
    "WSError",
    "WSHandshakeError",
    "WSInvalidMessageError",
    "WSInvalidStatusError",
    "WSInvalidHeaderError",
    "WSInvalidUpgradeError",
    "WSProtocolError",
    "WSInvalidURL",
)


async def main(ws, log):
    for name in NAMES:
        bases = [base.__name__ for base in getattr(ws, name).__mro__]
        log(f"{name} derives from", [base for base in bases if base.startswith("WS")])
    log("WSInvalidURL is a ValueError", issubclass(ws.WSInvalidURL, ValueError))

    for name in NAMES[1:4]:
        error = getattr(ws, name)("text")
        log(name, [str(error), error.args, error.raw_header, error.raw_body, error.response])
        error = getattr(ws, name)("text", b"head", b"body", "response")
        log(f"{name} in full", [error.args, error.raw_header, error.raw_body, error.response])
    for name in NAMES[4:6]:
        error = getattr(ws, name)("text", "Name")
        log(name, [str(error), error.args, error.name, error.value, error.raw_header])
        error = getattr(ws, name)("text", "Name", "value", b"head", b"body", "response")
        full = [error.name, error.value, error.raw_header, error.raw_body, error.response]
        log(f"{name} in full", full)
    error = ws.WSProtocolError(1002, "text")
    log("WSProtocolError", [error.code, error.args, str(error)])
    error = ws.WSInvalidURL("url", "text")
    log("WSInvalidURL", [error.url, str(error)])
