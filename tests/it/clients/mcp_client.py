"""MODE URL: a session of the MCP SDK as it comes; prints the tools that it is shown and what its calls come to.

MODE is sse (the old transport), legacy (streamable HTTP with its handshake) or auto (the newest that the server has)."""
import asyncio
import os
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

mode, url = sys.argv[1:]
headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}


async def session(client):
    print("tools", *sorted(tool.name for tool in (await client.list_tools()).tools))
    answer = await client.call_tool("get_issue", {"text": "one"})
    print("answer", answer.content[0].text)
    if mode == "sse":
        return
    for name in ("delete_repo", "get_secret"):
        try:
            await client.call_tool(name, {"text": "all"})
            print("let through", name)
        except MCPError as error:
            print("refused", error.error.data["code"], error.error.code)
    # The session is as good as before.
    answer = await client.call_tool("get_issue", {"text": "two"})
    print("answer", answer.content[0].text)


async def main():
    if mode == "sse":
        async with Client(sse_client(url, headers=headers), mode="legacy") as client:
            await session(client)
        return
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            await session(client)


asyncio.run(main())
