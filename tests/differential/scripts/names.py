"""What picows exports is here."""

NAMES = """
    PICOWS_DEBUG_LL WSAutoPingStrategy WSCloseCode WSError WSFrame WSHandshakeError
    WSInvalidHeaderError WSInvalidMessageError WSInvalidStatusError WSInvalidURL
    WSInvalidUpgradeError WSListener WSMsgType WSParsedURL WSProtocolError WSTransport
    WSUpgradeRequest WSUpgradeResponse WSUpgradeResponseWithListener ws_connect ws_create_server
"""

METHODS = {
    "WSListener": """
        is_user_specific_pong on_ws_connected on_ws_disconnected on_ws_frame pause_writing
        resume_writing send_user_specific_ping
    """,
    "WSTransport": """
        close_handshake disconnect is_client_side is_close_frame_sent is_disconnected is_secure
        measure_roundtrip_time notify_user_specific_pong_received request response send send_close
        send_ping send_pong send_reuse_external_bytearray underlying_transport wait_disconnected
    """,
    "WSFrame": """
        fin get_close_code get_close_message get_close_reason get_payload_as_ascii_text
        get_payload_as_bytes get_payload_as_memoryview get_payload_as_utf8_text last_in_buffer
        msg_type payload_size rsv1 rsv2 rsv3 tail_size
    """,
    "WSUpgradeResponse": """
        create_101_response create_error_response create_ok_response create_redirect_response
        to_bytes
    """,
}


async def main(ws, log):
    log("exported", [name for name in NAMES.split() if name in ws.__all__])
    log("version", isinstance(ws.__version__, str))
    for kind, names in METHODS.items():
        log(kind, [name for name in names.split() if hasattr(getattr(ws, kind), name)])
