"""URL MESSAGE...: sends each message and prints what comes back."""
import asyncio
import sys

import websockets


async def main():
    url, *messages = sys.argv[1:]
    async with websockets.connect(url, open_timeout=15) as socket:
        for message in messages:
            await socket.send(message)
            print(await socket.recv())


try:
    asyncio.run(main())
except websockets.InvalidStatus as refused:
    print("refused", refused.response.status_code, refused.response.body.decode())
    sys.exit(1)
