"""CERTIFICATE KEY USER PASSWORD: a container registry with a token service, which signs a token for each scope; prints its port, then one line a request.

The registry takes a token for exactly the repository and the rights that it was given for, and the credential itself never.
"""
import base64
import hashlib
import hmac
import json
import re
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:]
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SIGNS, BLOBS, MANIFESTS, UPLOADS, LOCK = PASSWORD.encode(), {}, {}, {}, threading.Lock()
PATH = re.compile(r"/v2/(?P<name>[a-z0-9/._-]+)/(?P<what>manifests|blobs)/(?P<of>.*)")


def signed(claims):
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return text + "." + hmac.new(SIGNS, text.encode(), hashlib.sha256).hexdigest()


def rights(token):
    text, _, given = token.partition(".")
    if not hmac.compare_digest(given, hmac.new(SIGNS, text.encode(), hashlib.sha256).hexdigest()):
        return None
    claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return claims["scopes"] if claims["end"] > time.time() else None


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def token(self, query):
        scopes = query.get("scope", [])
        if self.command != "GET" or self.headers.get("authorization") != BASIC or query.get("service") != ["registry.docker.io"]:
            print("wrong credential", flush=True)
            return self.say(401, b"{}")
        print("token " + (" ".join(scopes) or "-"), flush=True)
        token = signed({"scopes": scopes, "end": time.time() + 300})
        self.say(200, json.dumps({"token": token, "access_token": token, "expires_in": 300}).encode())

    def answer(self):
        data, url = self.body(), urlsplit(self.path)
        if self.headers["host"] == "auth.docker.io":
            return self.token(parse_qs(url.query))
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        have = rights(token) if kind == "Bearer" else None
        path = PATH.fullmatch(url.path)
        read = self.command in ("GET", "HEAD")
        wanted = f"repository:{path['name']}:{'pull' if read else 'pull,push'}" if path else None
        if have is None or wanted and wanted not in have and (not read or wanted + ",push" not in have):
            print(f"wrong {self.command} {url.path} {kind} {have}", flush=True)
            return self.say(401, b"{}", www_authenticate='Bearer realm="https://auth.docker.io/token",service="registry.docker.io"')
        if url.path == "/v2/":
            return self.say(200, b"{}")
        name, what, of = path["name"], path["what"], path["of"]
        with LOCK:
            if what == "manifests":
                return self.manifest(name, of, data)
            self.blob(name, of, data, parse_qs(url.query))

    def manifest(self, name, of, data):
        if self.command == "PUT":
            MANIFESTS[name, of] = MANIFESTS[name, digest(data)] = (self.headers["content-type"], data)
            return self.say(201, docker_content_digest=digest(data))
        kind, data = MANIFESTS.get((name, of), (None, b""))
        self.say(200, data, content_type=kind, docker_content_digest=digest(data)) if kind else self.say(404)

    def blob(self, name, of, data, query):
        if self.command == "POST":
            UPLOADS[place := f"/v2/{name}/blobs/uploads/{len(UPLOADS)}"] = b""
            return self.say(202, location=place, range="0-0")
        if self.command == "PATCH":
            UPLOADS[place := f"/v2/{name}/blobs/{of}"] += data
            return self.say(202, location=place, range=f"0-{len(UPLOADS[place]) - 1}")
        if self.command == "PUT":
            whole = UPLOADS[f"/v2/{name}/blobs/{of}"] + data
            assert query["digest"] == [digest(whole)]
            BLOBS[name, digest(whole)] = whole
            return self.say(201, location=f"/v2/{name}/blobs/{digest(whole)}")
        data = BLOBS.get((name, of))
        self.say(404) if data is None else self.say(200, data, docker_content_digest=of)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = answer


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)
server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
