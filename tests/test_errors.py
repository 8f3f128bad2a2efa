"""The tree of exceptions, and what each one carries."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import picows_c
from picows_c import (
    WSCloseCode,
    WSError,
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    WSInvalidURL,
    WSProtocolError,
    WSProxyError,
    WSUpgradeResponse,
)

TREE = {
    WSError: Exception,
    WSHandshakeError: WSError,
    WSInvalidMessageError: WSHandshakeError,
    WSInvalidStatusError: WSHandshakeError,
    WSInvalidHeaderError: WSHandshakeError,
    WSInvalidUpgradeError: WSInvalidHeaderError,
    WSProxyError: WSHandshakeError,
    WSProtocolError: WSError,
    WSInvalidURL: WSError,
}


def test_tree():
    for error, base in TREE.items():
        assert error.__bases__[0] is base
        assert error.__doc__
        assert error.__name__ in picows_c.__all__
    exported = {getattr(picows_c, name) for name in picows_c.__all__}
    errors = {x for x in exported if inspect.isclass(x) and issubclass(x, Exception)}
    assert errors == set(TREE)
    assert issubclass(WSInvalidURL, ValueError)


@pytest.mark.parametrize("error", [WSHandshakeError, WSInvalidMessageError, WSInvalidStatusError])
def test_handshake_errors(error):
    response = WSUpgradeResponse(404)
    full = error("what", b"head", b"body", response)
    assert str(full) == "what"
    assert (full.raw_header, full.raw_body, full.response) == (b"head", b"body", response)
    bare = error("what")
    assert (bare.raw_header, bare.raw_body, bare.response) == (None, None, None)


@pytest.mark.parametrize("error", [WSInvalidHeaderError, WSInvalidUpgradeError])
def test_header_errors(error):
    full = error("what", "Upgrade", "x", b"head", b"", None)
    assert str(full) == "what"
    assert (full.name, full.value, full.raw_header, full.raw_body) == ("Upgrade", "x", b"head", b"")
    bare = error("what", name="Upgrade")
    assert (bare.name, bare.value, bare.raw_header) == ("Upgrade", None, None)


def test_protocol_error():
    error = WSProtocolError(WSCloseCode.POLICY_VIOLATION, "not here")
    assert error.code is WSCloseCode.POLICY_VIOLATION
    assert error.args == (1008, "not here")
    assert str(error) == "not here"
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (again.code, again.args, str(again)) == (error.code, error.args, "not here")


def test_proxy_error():
    full = WSProxyError("what", 407, b"head")
    assert (str(full), full.status, full.raw_header) == ("what", 407, b"head")
    assert (full.raw_body, full.response) == (None, None)
    bare = WSProxyError("what")
    assert (bare.status, bare.raw_header) == (None, None)


ONE_OF_EACH = [
    WSError("what"),
    WSHandshakeError("what", b"head", b"body"),
    WSInvalidMessageError("what", b"head"),
    WSInvalidStatusError("what", b"head", b"body", WSUpgradeResponse(404)),
    WSInvalidHeaderError("what", "Upgrade", "x", b"head", b"body", WSUpgradeResponse(101)),
    WSInvalidUpgradeError("what", "Connection"),
    WSProxyError("what", 407, b"head"),
    WSProtocolError(WSCloseCode.POLICY_VIOLATION, "what"),
    WSInvalidURL("http://h", "what"),
]


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_copy_and_pickle(error):
    def carried(error):
        found = dict(vars(error))
        if found.get("response") is not None:
            found["response"] = found["response"].to_bytes()
        return type(error), error.args, str(error), found

    assert len(ONE_OF_EACH) == len(TREE)
    error.more = ["of the user"]
    protocols = range(2, pickle.HIGHEST_PROTOCOL + 1)
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
    for again in (copy.copy(error), copy.deepcopy(error), *pickled):
        assert again is not error
        assert carried(again) == carried(error)


def test_invalid_url():
    error = WSInvalidURL("http://h", "no")
    assert error.url == "http://h"
    assert str(error) == "http://h isn't a valid URL: no"


Response = WSUpgradeResponse


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Response.create_error_response(399), "invalid error response code 399"),
        (lambda: Response.create_error_response(1000), "1000"),
        (lambda: Response.create_redirect_response(299, "/"), "invalid redirect response code 299"),
        (lambda: Response.create_redirect_response(400, "/"), "invalid redirect response code 400"),
        (lambda: Response.create_redirect_response(302, "/\r\nX: y"), "Location"),
        (lambda: Response.create_ok_response(b"", {"X": "a\nb"}), "X"),
        (lambda: Response.create_101_response({"X Y": "a"}), "header name .* ' ' at position 1"),
        (lambda: picows_c.WSUpgradeResponseWithListener(Response(101), None), "101"),
        (
            lambda: picows_c.WSUpgradeResponseWithListener(Response(404), picows_c.WSListener()),
            "error response",
        ),
        (lambda: picows_c.WSUpgradeRequest(path=b"/a b").to_bytes(), "target"),
        (lambda: picows_c.WSUpgradeRequest(path=b"").to_bytes(), "target"),
        (lambda: picows_c.WSUpgradeRequest(b"GET /x").to_bytes(), "method"),
        (lambda: picows_c.WSUpgradeRequest(version=b"HTTP/1.1\r\nX: y").to_bytes(), "version"),
        (lambda: Response(99).to_bytes(), "three digits"),
        (lambda: Response(1000).to_bytes(), "three digits"),
        (lambda: Response(-404).to_bytes(), "three digits"),
        (lambda: Response(version=b"HTTP/1.1\r\nX: y").to_bytes(), "version"),
    ],
)
def test_argument_errors_are_value_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: Response.create_ok_response(b"", {"X": 1}),
        lambda: Response.create_ok_response(b"", {b"X": "y"}),
        lambda: Response.create_ok_response(b"", 5),
        picows_c.WSFrame,
    ],
)
def test_argument_errors_of_type(call):
    with pytest.raises(TypeError):
        call()
