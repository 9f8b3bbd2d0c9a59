"""CERTIFICATE KEY STATE: a transit engine after the documented API of HashiCorp Vault and OpenBao; prints its port.

STATE/mode: ok, sealed, cut or huge; STATE/seen: every plain key that it was shown, base64; the token is `s.right`.
"""
import base64
import json
import os
import pathlib
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CERTIFICATE, KEY, STATE = sys.argv[1:]
state = pathlib.Path(STATE)
keys = {"/v1/transit/{}/team": AESGCM(bytes(range(32))), "/v1/transit/{}/other": AESGCM(bytes(32)), "/v1/ns/engine/{}/team": AESGCM(b"n" * 32)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def errors(self, status, text):
        self.say(status, {"errors": [text]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        mode = (state / "mode").read_text()
        if mode == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
            self.close_connection = True
            return
        if mode == "huge":
            return self.say(200, {"data": {"plaintext": "A" * (1 << 20)}})
        if mode == "sealed":
            return self.errors(503, "Vault is sealed")
        if self.headers["x-vault-token"] != "s.right":
            return self.errors(403, "permission denied")
        for path, key in keys.items():
            if self.path == path.format("encrypt"):
                return self.encrypt(key, body)
            if self.path == path.format("decrypt"):
                return self.decrypt(key, body)
        if self.path.startswith("/v1/transit/"):
            return self.errors(400, "encryption key not found")
        self.errors(404, "no handler for route")

    def encrypt(self, key, body):
        with open(state / "seen", "a") as seen:
            seen.write(body["plaintext"] + "\n")
        nonce = os.urandom(12)
        aad = base64.b64decode(body["associated_data"])
        sealed = key.encrypt(nonce, base64.b64decode(body["plaintext"]), aad)
        self.say(200, {"data": {"ciphertext": "vault:v1:" + base64.b64encode(nonce + sealed).decode(), "key_version": 1}})

    def decrypt(self, key, body):
        try:
            raw = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"), validate=True)
            plain = key.decrypt(raw[:12], raw[12:], base64.b64decode(body["associated_data"]))
        except (ValueError, InvalidTag):
            return self.errors(400, "cipher: message authentication failed")
        self.say(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
