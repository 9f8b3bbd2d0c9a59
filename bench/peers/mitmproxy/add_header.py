"""mitmproxy as a bench peer: one header on every request, every host at the test origin, events and large bodies streamed."""

import os

CREDENTIAL = os.environ["BENCH_CREDENTIAL"]
ORIGIN = ("127.0.0.1", int(os.environ["BENCH_ORIGIN_PORT"]))


def http_connect(flow):
    # Here and not when the server is dialled: an address changed there is not recognised again, and every request would dial.
    flow.request.host, flow.request.port = ORIGIN


def requestheaders(flow):
    flow.request.headers["authorization"] = CREDENTIAL


def responseheaders(flow):
    if flow.response.headers.get("content-type", "").startswith("text/event-stream"):
        flow.response.stream = True
