"""CERTIFICATE KEY WHAT: Google, Azure or GitHub as far as the tests ask, issuers that verify and APIs that take their tokens alone.

Prints its port, then the secret's values as one line of JSON, then one line a request. The keys are made at its start.
"""
import base64
import hashlib
import json
import ssl
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

CERTIFICATE, KEY, WHAT = sys.argv[1:]
# GitHub Enterprise Server
SERVER = "git.corp.example"
RSA = rsa.generate_private_key(65537, 2048)
PEM = RSA.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
PKCS1 = RSA.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()).decode()
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
TOKENS, OBJECTS, LOCK = {}, {}, threading.Lock()


def certificate():
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(RSA.public_key()).serial_number(7)
    return made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9)).sign(RSA, hashes.SHA256())


CERT = certificate()
SECRETS = {
    "google": {"key.json": json.dumps({"type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": PEM, "client_email": "real@p.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token"})},
    "azure": {"client_id": "11111111-2222-3333-4444-555555555555", "client_secret": "real~" + base64.b32encode(hashlib.sha256(PEM.encode()).digest()).decode()[:40]},
    "azure-certificate": {"client_id": "11111111-2222-3333-4444-555555555555", "certificate": CERT.public_bytes(serialization.Encoding.PEM).decode() + PEM},
    "github": {"app_id": "123", "installation_id": "456", "private_key": PKCS1},
}[WHAT]


class Wrong(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Wrong(why)


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(token):
    """Header and claims of a token that our key signed and that is good now."""
    head, claims, signature = token.split(".")
    RSA.public_key().verify(decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    head, claims = json.loads(decoded(head)), json.loads(decoded(claims))
    need(head["alg"] == "RS256" and head["typ"] == "JWT", "its header")
    need(claims["iat"] <= time.time() + 1 and time.time() < claims["exp"], "its time")
    return head, claims


def issue(audience, prefix, life=3600):
    token = prefix + base64.b32encode(hashlib.sha256(f"{audience}{time.time_ns()}".encode()).digest()).decode().strip("=")
    TOKENS[token] = audience
    print(f"issued {audience} {token}", flush=True)
    return token


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def bearer(self, audience):
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            user, _, token = base64.b64decode(token).decode().partition(":")
            need(user == "x-access-token", "its user")
        need(TOKENS.get(token) == audience, f"a token of {audience}, not {TOKENS.get(token)}")

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return body
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def serve(self):
        host, url = self.headers["host"], urlsplit(self.path)
        self.query = parse_qs(url.query, keep_blank_values=True)
        try:
            data = self.body()
            with LOCK:
                done = getattr(self, WHAT.partition("-")[0])(host, url.path, data)
        except Exception as error:
            print(f"wrong {self.command} {host}{url.path}: {error!r}".replace("\n", "|"), flush=True)
            return self.answer(403, {"error": {"code": 403, "message": "no"}, "message": "no"})
        print(f"{self.command} {host}{url.path} {done}", flush=True)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = serve

    # --- Google
    def google(self, host, path, data):
        if host == "oauth2.googleapis.com":
            form = dict(parse_qsl(data.decode(), strict_parsing=True))
            need(path == "/token" and form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer", path)
            head, claims = verified(form["assertion"])
            need(head["kid"] == "k1" and claims["iss"] == "real@p.iam.gserviceaccount.com", "its issuer")
            need(claims["aud"] == "https://oauth2.googleapis.com/token" and "cloud-platform" in claims["scope"], "its audience")
            token = issue("google", "ya29.real-")
            self.answer(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
            return "token"
        self.bearer("google")
        parts = path.split("/")
        if parts[1:4] == ["upload", "storage", "v1"]:
            name, media = self.query.get("name", [None])[0], data
            if self.query["uploadType"] == ["multipart"]:
                message = BytesParser().parsebytes(b"Content-Type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + data)
                meta, content = message.get_payload()
                name, media = json.loads(meta.get_payload())["name"], content.get_payload(decode=True)
            OBJECTS[parts[5], name] = media
            self.answer(200, {"name": name, "bucket": parts[5], "size": str(len(media))})
            return "stored"
        download = parts[1:4] == ["download", "storage", "v1"]
        bucket = parts[5 if download else 4]
        if not download and len(parts) == 5 and self.command == "GET":
            self.answer(200, {"name": bucket, "location": "EU"})
            return "described"
        if not download and len(parts) == 6 and self.command == "GET":
            found = sorted(name for owner, name in OBJECTS if owner == bucket and name.startswith(self.query.get("prefix", [""])[0]))
            self.answer(200, {"items": [{"name": name, "bucket": bucket} for name in found]})
            return "listed"
        key = bucket, unquote(parts[7 if download else 6])
        if self.command == "DELETE":
            OBJECTS.pop(key)
            self.answer(204)
            return "deleted"
        if download or self.query.get("alt") == ["media"]:
            self.answer(200, OBJECTS[key], "application/octet-stream")
            return "read"
        self.answer(200, {"name": key[1], "bucket": bucket, "size": str(len(OBJECTS[key]))})
        return "found"

    # --- Azure
    def azure(self, host, path, data):
        if host == "login.microsoftonline.com":
            form = dict(parse_qsl(data.decode(), strict_parsing=True))
            need(path == f"/{TENANT}/oauth2/v2.0/token" and form["grant_type"] == "client_credentials", path)
            need(form["client_id"] == SECRETS["client_id"], "its client")
            if WHAT == "azure":
                need(form["client_secret"] == SECRETS["client_secret"], "its secret")
            else:
                need(form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "its type")
                head, claims = verified(form["client_assertion"])
                need(decoded(head["x5t#S256"]) == CERT.fingerprint(hashes.SHA256()), "its thumbprint")
                need(claims["aud"] == f"https://{host}{path}" and claims["iss"] == claims["sub"] == SECRETS["client_id"], "its claims")
            token = issue(form["scope"], "eyJ0real.")
            self.answer(200, {"access_token": token, "expires_in": 3599, "ext_expires_in": 3599, "token_type": "Bearer"})
            return "token"
        if host.endswith(".vault.azure.net"):
            if "authorization" not in self.headers:
                challenge = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://vault.azure.net"'
                self.answer(401, {"error": {"code": "Unauthorized"}}, WWW_Authenticate=challenge)
                return "challenged"
            self.bearer("https://vault.azure.net/.default")
            if self.command == "PUT":
                OBJECTS[path] = json.loads(data)["value"]
            self.answer(200, {"id": f"https://{host}{path.rstrip('/')}/0123456789abcdef0123456789abcdef", "value": OBJECTS[path.rstrip('/')], "attributes": {"enabled": True}})
            return "secret"
        self.bearer({"management.azure.com": "https://management.azure.com/.default"}.get(host, "https://storage.azure.com/.default"))
        if host == "management.azure.com":
            self.answer(200, {"value": []})
            return "managed"
        stamp = {"ETag": '"1"', "Last_Modified": "Sun, 22 Nov 2026 10:00:00 GMT", "x_ms_version": "2026-02-06", "x_ms_request_server_encrypted": "true"}
        if self.command == "PUT":
            need(self.headers["x-ms-blob-type"] == "BlockBlob", "its kind")
            OBJECTS[unquote(path)] = data
            self.answer(201, **stamp)
            return "stored"
        if self.command == "DELETE":
            OBJECTS.pop(unquote(path))
            self.answer(202)
            return "deleted"
        found = OBJECTS[unquote(path)]
        span = f"bytes 0-{len(found) - 1}/{len(found)}"
        self.answer(206 if "x-ms-range" in self.headers else 200, found, "application/octet-stream", Content_Range=span, x_ms_blob_type="BlockBlob", **stamp)
        return "read"

    # --- GitHub
    def github(self, host, path, data):
        api = host == "api.github.com"
        if host == SERVER:
            # Everything is on one host.
            api, path = path.startswith("/api/v3/"), path.removeprefix("/api/v3")
        if api and path == "/app/installations/456/access_tokens":
            kind, _, token = self.headers["authorization"].partition(" ")
            _, claims = verified(token)
            need(kind == "Bearer" and claims["iss"] == "123" and claims["exp"] - time.time() <= 600, "its claims")
            narrowed = json.loads(data)
            need(narrowed == {"permissions": {"contents": "read", "issues": "write"}, "repositories": ["api"]}, f"narrowed to {narrowed}")
            ends = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            self.answer(201, {"token": issue("github", "ghs_real"), "expires_at": ends, "permissions": narrowed["permissions"], "repository_selection": "selected"})
            return "token"
        need(self.headers.get("authorization", "").startswith("Bearer " if api else "Basic "), "the API takes a bearer token, git takes Basic")
        self.bearer("github")
        if not api:
            advertisement = b"001e# service=git-upload-pack\n0000" + b"0000"
            self.answer(200, advertisement, "application/x-git-upload-pack-advertisement")
            return "git"
        if path == "/repos/acme/api":
            self.answer(200, {"full_name": "acme/api", "name": "api", "url": f"{self.base(host)}/repos/acme/api", "id": 1})
            return "repository"
        self.answer(201, {"number": 7, "title": json.loads(data)["title"], "url": f"{self.base(host)}/repos/acme/api/issues/7"})
        return "issue"

    @staticmethod
    def base(host):
        return f"https://{host}" + ("/api/v3" if host == SERVER else "")


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
print(json.dumps(SECRETS), flush=True)
server.serve_forever()
