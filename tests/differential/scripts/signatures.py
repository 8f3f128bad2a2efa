"""The parameters of ws_connect and ws_create_server, and their defaults."""

import inspect

DIFFERS = {
    "read-buffer": [
        "ws_connect: read_buffer_init_size",
        "ws_create_server: read_buffer_init_size",
    ],
}

OF_BOTH = """
    ws_listener_factory disconnect_on_exception websocket_handshake_timeout logger_name
    enable_auto_ping auto_ping_idle_timeout auto_ping_reply_timeout auto_ping_strategy
    enable_auto_pong max_frame_size read_buffer_init_size use_aiofastnet
"""
PARAMETERS = {
    "ws_connect": OF_BOTH
    + "url ssl_context extra_headers max_redirects proxy proxy_ssl_context socket_factory",
    "ws_create_server": OF_BOTH + "host port",
}


async def main(ws, log):
    for name, parameters in PARAMETERS.items():
        signature = inspect.signature(getattr(ws, name))
        for parameter in parameters.split():
            found = signature.parameters.get(parameter)
            if found is None:
                log(f"{name}: {parameter}", "missing")
                continue
            default = "none" if found.default is found.empty else found.default
            log(f"{name}: {parameter}", [found.kind.name, default])
