"""CERTIFICATE KEY: prints its port, then the authorization of each call. Messages are plain bytes, so no protobuf is needed."""
import sys
from concurrent import futures

import grpc


def credential(context):
    value = dict(context.invocation_metadata()).get("authorization", "none")
    print(value, flush=True)
    return value.encode()


def unary(request, context):
    return request + b" <" + credential(context) + b">"


def stream(request, context):
    credential(context)
    for n in range(int(request)):
        yield str(n).encode()


def bidi(requests, context):
    credential(context)
    yield from requests


def fail(request, context):
    credential(context)
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


certificate, key = (open(path, "rb").read() for path in sys.argv[1:3])
server = grpc.server(futures.ThreadPoolExecutor(4))
methods = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Stream": grpc.unary_stream_rpc_method_handler(stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
server.start()
print(port, flush=True)
server.wait_for_termination()
