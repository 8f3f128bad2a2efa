"""Listener factories of a server: what they may return, and what they do wrong."""

import logging

from kit import answer_of, attempt, recorder, serving
from wire import request_bytes

DIFFERS = {
    "error-body": ["raises", "raises a TypeError", "returns an object", "returns a class"],
    "content-length": ["503 without a body", "a redirect"],
    "error-logged": ["raises: logged"],
    "listener-beside": ["200 with a listener", "200 with a listener: without upgrade"],
}


async def main(ws, log):
    listener = recorder(ws)
    answer = ws.WSUpgradeResponse
    both = ws.WSUpgradeResponseWithListener

    def raising(error):
        def factory(_):
            raise error

        return factory

    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append([record.levelname, bool(record.exc_info)])
    logging.getLogger().addHandler(handler)

    for name, factory in {
        "None": lambda _: None,
        "a listener": lambda _: listener,
        "101 with headers": lambda _: both(answer.create_101_response({"X": "1"}), listener),
        "404": lambda _: both(answer.create_error_response(404, b"nothing"), None),
        "503 without a body": lambda _: both(answer.create_error_response(503), None),
        "a redirect": lambda _: both(answer.create_redirect_response(302, "/there"), None),
        "200 with a listener": lambda _: both(answer.create_ok_response(b"hello"), listener),
        "raises": raising(ValueError("a secret")),
        "raises a TypeError": raising(TypeError("a secret")),
        "returns an object": lambda _: object(),
        "returns a class": lambda _: ws.WSListener,
    }.items():
        records.clear()
        async with serving(ws, factory) as port:
            log(name, await answer_of(port, request_bytes()))
        if name == "raises":
            log("raises: logged", records)
        log(f"{name}: without upgrade", (await first_line(factory, ws))[:12])
    logging.getLogger().removeHandler(handler)

    log("101 needs a listener", attempt(both, answer.create_101_response(), None))
    log("404 needs none", attempt(both, answer.create_error_response(404), listener))


async def first_line(factory, ws):
    async with serving(ws, factory) as port:
        answer = await answer_of(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return answer[0]
