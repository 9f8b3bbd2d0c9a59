"""METHOD URL [BODY]: one request with the dummy from the environment; prints status, version and body."""
import os
import sys

import httpx

method, url, *body = sys.argv[1:]
headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
with httpx.Client(http2=True, timeout=15) as client:
    answer = client.request(method, url, headers=headers, content=body[0] if body else None)
print(answer.status_code, answer.http_version)
print(answer.text)
