#!/usr/bin/env python3
"""nftables.py serve tcp|udp ADDRESS PORT, or what can be reached: tcp|udp ADDRESS PORT, packets, become USER. Says yes or no."""

import os
import socket
import sys

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def opened(kind, address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[kind])


def serve(kind, address, port):
    with opened(kind, address) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((address, int(port)))
        if kind == "tcp":
            own.listen()
        print("listening", flush=True)
        while True:
            if kind == "tcp":
                with own.accept()[0] as one:
                    one.sendall(b"here")
            else:
                own.sendto(b"here", own.recvfrom(16)[1])


def reaches(kind, address, port):
    with opened(kind, address) as own:
        # Long enough for a neighbour to be looked up; what is refused is so at once.
        own.settimeout(5)
        own.connect((address, int(port)))
        if kind == "udp":
            own.send(b"there?")
        return own.recv(16) == b"here"


def packets():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    return True


def become(user):
    os.setuid(int(user))
    return os.getuid() == int(user)


words = sys.argv[1:]
if words[0] == "serve":
    serve(*words[1:])
try:
    done = {"packets": packets, "become": become}.get(words[0], lambda *rest: reaches(words[0], *rest))(*words[1:])
except OSError:
    done = False
print("yes" if done else "no")
