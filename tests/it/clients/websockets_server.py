"""CERTIFICATE KEY: prints its port, then the Authorization of each handshake; answers each message with itself and that credential."""
import asyncio
import ssl
import sys

import websockets


async def answer(socket):
    credential = socket.request.headers.get("Authorization", "none")
    print(credential, flush=True)
    async for message in socket:
        await socket.send(f"{message} <{credential}>")


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    async with websockets.serve(answer, "127.0.0.1", 0, ssl=context) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
