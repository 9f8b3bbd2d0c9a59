"""CERTIFICATE KEY ID SECRET [TOKEN]: a small AWS that verifies every signature with botocore; prints its port, then one line a request.

S3 in memory (objects, multipart, list, copy, select), DynamoDB, SQS, STS and Lambda as far as the tests ask. Whatever is not signed
with ID and SECRET is answered with 403 and SignatureDoesNotMatch.
"""
import base64
import hashlib
import io
import json
import ssl
import struct
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CERTIFICATE, KEY, ID, SECRET, *TOKEN = sys.argv[1:]
EMPTY = hashlib.sha256(b"").hexdigest()
OBJECTS, UPLOADS, LOCK = {}, {}, threading.Lock()
DATED = {"Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"e"'}


class Wrong(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Wrong(why)


class Signature:
    """One request's signature, parsed and verified."""

    def __init__(self, handler):
        self.handler, headers = handler, handler.headers
        path, _, query = handler.path.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        need(not [name for name in headers if headers.get_all(name)[1:]], "a header stands twice")
        if "X-Amz-Signature" in self.query:
            need("authorization" not in headers, "signed twice")
            credential, signed = self.query["X-Amz-Credential"], self.query["X-Amz-SignedHeaders"]
            self.given, self.date = self.query["X-Amz-Signature"], self.query["X-Amz-Date"]
            need(1 <= int(self.query["X-Amz-Expires"]) <= 604800, "its life")
            token = self.query.get("X-Amz-Security-Token")
        else:
            kind, _, rest = headers["authorization"].partition(" ")
            need(kind == "AWS4-HMAC-SHA256", kind)
            fields = dict(field.strip().split("=", 1) for field in rest.split(","))
            credential, signed, self.given = fields["Credential"], fields["SignedHeaders"], fields["Signature"]
            self.date, token = headers["x-amz-date"], headers.get("x-amz-security-token")
        key, day, self.region, self.service, end = credential.split("/")
        need((key, end) == (ID, "aws4_request") and self.date.startswith(day), "its scope")
        need(token == (TOKEN[0] if TOKEN else None), "its session token")
        names = signed.split(";")
        need("host" in names, "host is not signed")
        unsigned = [name for name in headers if name.lower().startswith("x-amz-") and name.lower() not in names]
        need(not unsigned, f"not signed: {unsigned}")
        self.request = AWSRequest(
            method=handler.command,
            url=f"https://{headers['host']}{path}" + (f"?{self.without_signature(query)}" if query else ""),
            headers={name: headers[name] for name in names},
        )
        self.request.context["timestamp"] = self.date
        s3, presigned = self.service == "s3", "X-Amz-Signature" in self.query
        kinds = {(True, True): S3SigV4QueryAuth, (True, False): S3SigV4Auth, (False, True): SigV4QueryAuth, (False, False): SigV4Auth}
        self.auth = kinds[s3, presigned](Credentials(ID, SECRET), self.service, self.region)
        self.payload = headers.get("x-amz-content-sha256") or ("UNSIGNED-PAYLOAD" if s3 and presigned else None)

    @staticmethod
    def without_signature(query):
        return "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))

    def sign(self, text):
        return self.auth.signature(text, self.request)

    def verify(self, body):
        self.request.data = body
        payload = self.payload or hashlib.sha256(body).hexdigest()
        self.auth.payload = lambda request: payload
        canonical = self.auth.canonical_request(self.request)
        need(self.sign(self.auth.string_to_sign(self.request, canonical)) == self.given, f"signature of\n{canonical}")
        if self.payload and self.payload.startswith("STREAMING-"):
            return self.chunks(body)
        if payload != "UNSIGNED-PAYLOAD":
            need(payload == hashlib.sha256(body).hexdigest(), "the payload's hash")
        return body

    def chunks(self, body):
        headers, previous, data, signed = self.handler.headers, self.given, bytearray(), "HMAC" in self.payload
        stream = io.BytesIO(body)
        scope = self.auth.credential_scope(self.request)

        def chained(kind, *hashes):
            return self.sign("\n".join([f"AWS4-HMAC-SHA256-{kind}", self.date, scope, previous, *hashes]))

        size = None
        while size != 0:
            line = stream.readline()
            need(line.endswith(b"\r\n"), "a chunk's line")
            length, _, signature = line[:-2].decode().partition(";chunk-signature=")
            size = int(length, 16)
            part = stream.read(size)
            need(size == 0 or stream.read(2) == b"\r\n", "a chunk's end")
            if signed:
                previous = chained("PAYLOAD", EMPTY, hashlib.sha256(part).hexdigest())
                need(previous == signature, "a chunk's signature")
            else:
                need(not signature, "a chunk's signature")
            data += part
        data, body = bytes(data), stream.read()
        trailers, end, rest = body.partition(b"\r\n\r\n") if not body.startswith(b"\r\n") else (b"", b"\r\n", body[2:])
        need(end and not rest, "the end")
        trailers = dict(line.decode().split(":", 1) for line in trailers.split(b"\r\n") if line)
        if signed and "TRAILER" in self.payload:
            given = trailers.pop("x-amz-trailer-signature")
            text = "".join(f"{name}:{trailers[name]}\n" for name in sorted(trailers))
            need(chained("TRAILER", hashlib.sha256(text.encode()).hexdigest()) == given, "the trailers' signature")
        need(",".join(trailers) == headers.get("x-amz-trailer", ""), "the trailers")
        need(len(data) == int(headers["x-amz-decoded-content-length"]), "the decoded length")
        if "x-amz-checksum-crc32" in trailers:
            need(trailers["x-amz-checksum-crc32"] == base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(), "crc32")
        return data


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = bytearray()
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return bytes(body)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, status, body=b"", kind="application/xml", **headers):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", headers.get("Length", len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self):
        try:
            signature = Signature(self)
            body = self.body()
            data = signature.verify(body)
        except Exception as error:
            print(f"wrong {self.command} {self.path.partition('?')[0]}: {error!r}".replace("\n", "|"), flush=True)
            self.close_connection = True
            self.answer(403, "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>")
            return
        print(f"signed {signature.service} {self.command} {signature.payload or 'hash'}", flush=True)
        getattr(self, signature.service)(signature, data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    def s3(self, signature, data):
        host, path = self.headers["host"], unquote(self.path.partition("?")[0])
        bucket, _, tail = host.partition(".s3.")
        bucket, key = (bucket, path[1:]) if tail else path[1:].split("/", 1) if "/" in path[1:] else (path[1:], "")
        query = signature.query
        with LOCK:
            getattr(self, f"s3_{self.command.lower()}")(bucket, key, query, data)

    def s3_put(self, bucket, key, query, data):
        if "x-amz-copy-source" in self.headers:
            source = unquote(self.headers["x-amz-copy-source"]).lstrip("/")
            OBJECTS[bucket, key] = OBJECTS[tuple(source.split("/", 1))]
            return self.answer(200, "<CopyObjectResult><ETag>\"c\"</ETag></CopyObjectResult>")
        if "uploadId" in query:
            UPLOADS[query["uploadId"]][int(query["partNumber"])] = data
        else:
            OBJECTS[bucket, key] = data
        self.answer(200, ETag=f'"{hashlib.md5(data).hexdigest()}"')

    def s3_post(self, bucket, key, query, data):
        if "select" in query:
            return self.events(b"a,b\n1,2\n" * 3)
        if "uploads" in query:
            UPLOADS["u1"] = {}
            return self.answer(200, f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
        parts = UPLOADS.pop(query["uploadId"])
        OBJECTS[bucket, key] = b"".join(parts[number] for number in sorted(parts))
        self.answer(200, f"<CompleteMultipartUploadResult><Key>{escape(key)}</Key><ETag>\"m\"</ETag></CompleteMultipartUploadResult>")

    def s3_get(self, bucket, key, query, data):
        if not key:
            keys = sorted(name for owner, name in OBJECTS if owner == bucket and name.startswith(query.get("prefix", "")))
            coded = quote if query.get("encoding-type") == "url" else lambda name: escape(name)
            listed = "".join(f"<Contents><Key>{coded(name)}</Key><Size>{len(OBJECTS[bucket, name])}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>" for name in keys)
            return self.answer(200, f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>")
        if (bucket, key) not in OBJECTS:
            return self.answer(404, "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>")
        found = OBJECTS[bucket, key]
        if "range" in self.headers:
            first, last = self.headers["range"].removeprefix("bytes=").split("-")
            last = min(int(last or len(found)), len(found) - 1)
            part = found[int(first):last + 1]
            return self.answer(206, part, "binary/octet-stream", Content_Range=f"bytes {first}-{last}/{len(found)}", **DATED)
        self.answer(200, found, "binary/octet-stream", **DATED)

    def s3_head(self, bucket, key, query, data):
        found = OBJECTS.get((bucket, key))
        self.answer(404 if found is None else 200, b"", Length=len(found or b""), **DATED)

    def events(self, *records):
        """An event stream, one event a flush, as SelectObjectContent answers."""
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for kind, payload in [*(("Records", record) for record in records), ("End", b"")]:
            texts = {":message-type": "event", ":event-type": kind, ":content-type": "application/octet-stream"}
            head = b"".join(struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(text)) + text.encode() for name, text in texts.items())
            prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
            event = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + payload
            event += struct.pack("!I", zlib.crc32(event))
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def s3_delete(self, bucket, key, query, data):
        OBJECTS.pop((bucket, key), None)
        self.answer(204)

    def dynamodb(self, signature, data):
        need(self.headers["x-amz-target"] == "DynamoDB_20120810.GetItem", "the target")
        self.answer(200, json.dumps({"Item": {"name": json.loads(data)["Key"]["id"]}}), "application/x-amz-json-1.0")

    def sqs(self, signature, data):
        body = json.loads(data)["MessageBody"]
        sent = {"MessageId": "m1", "MD5OfMessageBody": hashlib.md5(body.encode()).hexdigest()}
        self.answer(200, json.dumps(sent), "application/x-amz-json-1.0")

    def sts(self, signature, data):
        action = dict(parse_qsl(data.decode())).get("Action") or signature.query.get("Action")
        self.answer(200, f"<{action}Response><{action}Result><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/x</Arn></{action}Result></{action}Response>", "text/xml")

    def setattr_lambda(self, signature, data):
        self.answer(200, b"ran " + data, "application/json")


setattr(Handler, "lambda", Handler.setattr_lambda)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
