"""TARGET all|stream: calls through the proxy and the roots of the environment; prints the answers."""
import queue
import sys

import grpc

target, which = sys.argv[1:]
with grpc.secure_channel(target, grpc.ssl_channel_credentials()) as channel:
    try:
        if which == "all":
            print("unary:", channel.unary_unary("/test.Echo/Unary")(b"one", timeout=30).decode())
        print("stream:", *(m.decode() for m in channel.unary_stream("/test.Echo/Stream")(b"3", timeout=30)))
    except grpc.RpcError as error:
        print(error.code().name, error.details())
        sys.exit(1)

    # Each message goes out only after the one before it has come back.
    outgoing = queue.Queue()
    answers = channel.stream_stream("/test.Echo/Bidi")(iter(outgoing.get, None), timeout=30)
    heard = []
    for message in (b"a", b"b", b"c"):
        outgoing.put(message)
        heard.append(next(answers).decode())
    outgoing.put(None)
    assert list(answers) == []
    print("bidi:", *heard)

    try:
        channel.unary_unary("/test.Echo/Fail")(b"", timeout=30)
    except grpc.RpcError as error:
        print("status:", error.code().name, error.details())
