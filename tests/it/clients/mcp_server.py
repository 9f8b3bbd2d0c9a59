"""CERTIFICATE KEY TRANSPORT TOKEN: an MCP server of the SDK behind TLS on a free port, which takes no request without the token.

Prints its port, then what it is asked to do."""
import socket
import sys

import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

certificate, key, transport, token = sys.argv[1:]
server = MCPServer("tools")


def add(name):
    def call(text: str) -> str:
        print("called", name, text, flush=True)
        return f"{name} did {text}"

    server.add_tool(call, name=name, description=f"Does {name}.")


for name in ("get_issue", "get_secret", "delete_repo"):
    add(name)
names = TransportSecuritySettings(enable_dns_rebinding_protection=False)
make = server.sse_app if transport == "sse" else server.streamable_http_app
inner = make(transport_security=names)


async def app(scope, receive, send):
    if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != b"Bearer " + token.encode():
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await inner(scope, receive, send)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, ssl_certfile=certificate, ssl_keyfile=key, log_level="error")
uvicorn.Server(config).run(sockets=[listener])
