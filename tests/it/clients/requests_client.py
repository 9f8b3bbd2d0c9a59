"""METHOD URL [BODY]: one request with the dummy from the environment; prints status, version and body."""
import os
import sys

import requests

method, url, *body = sys.argv[1:]
headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
with requests.Session() as session:
    answer = session.request(method, url, headers=headers, data=body[0] if body else None, timeout=15)
print(answer.status_code, {11: "HTTP/1.1"}.get(answer.raw.version))
print(answer.text)
