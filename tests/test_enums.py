"""The enums: names, numbers, and the numbers without a name."""

from __future__ import annotations

import copy
import pickle
from enum import IntEnum

import pytest

import picows_c
from picows_c import WSCloseCode, WSMsgType

CLOSE_CODES = {
    "NO_INFO": 0,
    "OK": 1000,
    "GOING_AWAY": 1001,
    "PROTOCOL_ERROR": 1002,
    "UNSUPPORTED_DATA": 1003,
    "ABNORMAL_CLOSURE": 1006,
    "INVALID_TEXT": 1007,
    "POLICY_VIOLATION": 1008,
    "MESSAGE_TOO_BIG": 1009,
    "MANDATORY_EXTENSION": 1010,
    "INTERNAL_ERROR": 1011,
    "SERVICE_RESTART": 1012,
    "TRY_AGAIN_LATER": 1013,
    "BAD_GATEWAY": 1014,
}
MSG_TYPES = {"CONTINUATION": 0, "TEXT": 1, "BINARY": 2, "CLOSE": 8, "PING": 9, "PONG": 10}


@pytest.mark.parametrize(("enum", "members"), [(WSCloseCode, CLOSE_CODES), (WSMsgType, MSG_TYPES)])
def test_names_and_numbers(enum, members):
    assert issubclass(enum, IntEnum)
    assert {member.name: member.value for member in enum} == members
    for name, number in members.items():
        member = enum(number)
        assert member is getattr(enum, name)
        assert member is enum[name]
        assert member == number
        assert isinstance(member, int)


@pytest.mark.parametrize("number", [3000, 3001, 4000, 4999])
def test_codes_of_applications(number):
    code = WSCloseCode(number)
    assert isinstance(code, WSCloseCode)
    assert code == number
    assert code.value == number
    assert type(code.value) is int
    assert str(number) in repr(code)
    assert isinstance(code.name, str)
    assert hash(code) == hash(number)
    assert f"{int(code)}" == str(number)
    assert {code: 1}[WSCloseCode(number)] == 1
    assert copy.deepcopy(code) == code
    assert pickle.loads(pickle.dumps(code)) == code
    assert len(WSCloseCode) == len(CLOSE_CODES), "it became a member for all"


@pytest.mark.parametrize("number", [-1, 1, 999, 1004, 1005, 1015, 1016, 2999, 5000, 65535, "OK"])
def test_no_codes(number):
    with pytest.raises(ValueError, match=r"is not a valid WSCloseCode"):
        WSCloseCode(number)


@pytest.mark.parametrize("number", [-1, 3, 7, 11, 15, 16, 256, "TEXT"])
def test_no_message_types(number):
    with pytest.raises(ValueError, match=r"is not a valid WSMsgType"):
        WSMsgType(number)


def test_exported():
    for name in ("WSCloseCode", "WSMsgType"):
        assert name in picows_c.__all__
