"""TLS servers of OpenSSL's, and proxies, for tests. What they are to be comes as JSON in the first argument. They print
their ports, then answer what a lookup and a renewal are answered, until their standard input ends."""

import base64
import json
import os
import socket
import ssl
import sys
import threading
import warnings


def context_of(wanted):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    warnings.simplefilter("ignore", DeprecationWarning)
    context.minimum_version = ssl.TLSVersion[wanted.get("min", "TLSv1")]
    context.maximum_version = ssl.TLSVersion[wanted.get("max", "TLSv1_3")]
    # The smallest keys and oldest signatures, too: the client is to judge.
    context.set_ciphers(wanted.get("ciphers", "DEFAULT") + ":@SECLEVEL=0")
    context.load_cert_chain(wanted["certificate"], wanted["key"])
    if "curve" in wanted:
        context.set_ecdh_curve(wanted["curve"])
    if "clients" in wanted:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(wanted["clients"])
    return context


def serve(connection, context):
    try:
        with context.wrap_socket(connection, server_side=True) as stream:
            lines = stream.makefile("rb")
            while request := lines.readline():
                length = 0
                while (header := lines.readline().strip()):
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                lines.read(length)
                body = ANSWERS["renewal" if b"renew" in request else "lookup"].encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                stream.sendall(head.encode() + body)
    except OSError:
        pass


def pipe(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def exactly(stream, length):
    data = b""
    while len(data) < length:
        part = stream.recv(length - len(data))
        if not part:
            raise OSError("gone")
        data += part
    return data


def socks(stream, wanted):
    """RFC 1928. Names are known here only."""
    methods = exactly(stream, exactly(stream, 1)[0])
    if "credentials" in wanted:
        if 2 not in methods:
            stream.sendall(b"\5\xff")
            return None
        stream.sendall(b"\5\2")
        exactly(stream, 1)
        user = exactly(stream, exactly(stream, 1)[0])
        password = exactly(stream, exactly(stream, 1)[0])
        if user + b":" + password != wanted["credentials"].encode():
            stream.sendall(b"\1\1")
            return None
        stream.sendall(b"\1\0")
    else:
        stream.sendall(b"\5\0")
    kind = exactly(stream, 4)[3]
    exactly(stream, {1: 4, 4: 16}.get(kind) or exactly(stream, 1)[0])
    port = int.from_bytes(exactly(stream, 2), "big")
    if wanted.get("refuses"):
        stream.sendall(b"\5\2\0\1\0\0\0\0\0\0")
        return None
    server = socket.create_connection(("127.0.0.1", port))
    # A name as the address it connects from, of which any is allowed.
    stream.sendall(b"\5\0\0\3\4here\0\1")
    return server


def head_of(stream, begin=b""):
    head = begin
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(stream, 1)
    return head


def body_of(stream, head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return exactly(stream, int(line.partition(b":")[2]))
    return b""


def http(stream, first, wanted):
    """A tunnel, or requests to pass on. Every name is this machine."""
    head = head_of(stream, first)
    while True:
        line, _, rest = head.partition(b"\r\n")
        method, target, _ = line.split(b" ")
        if "credentials" in wanted:
            expected = b"Basic " + base64.b64encode(wanted["credentials"].encode())
            if b"proxy-authorization: " + expected.lower() not in head.lower():
                stream.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                return None
        if method == b"CONNECT":
            if b"x-vault-token" in head.lower():
                raise AssertionError("a proxy sees the token")
            server = socket.create_connection(("127.0.0.1", int(target.rpartition(b":")[2])))
            stream.sendall(b"HTTP/1.1 200 Connected\r\nX-Some: thing\r\n\r\n")
            return server
        if not target.startswith(b"http://"):
            stream.sendall(b"HTTP/1.1 400 Not for a proxy\r\nContent-Length: 0\r\n\r\n")
            return None
        place, _, path = target[len(b"http://"):].partition(b"/")
        body = body_of(stream, head)
        with socket.create_connection(("127.0.0.1", int(place.rpartition(b":")[2]))) as server:
            server.sendall(method + b" /" + path + b" HTTP/1.1\r\n" + rest + body)
            answer = head_of(server)
            stream.sendall(answer + body_of(server, answer))
        head = head_of(stream)


def proxy(connection, wanted, context):
    try:
        stream = context.wrap_socket(connection, server_side=True) if context else connection
        first = exactly(stream, 1)
        server = socks(stream, wanted) if first == b"\5" else http(stream, first, wanted)
        if server:
            threading.Thread(target=pipe, args=(stream, server), daemon=True).start()
            pipe(server, stream)
        connection.close()
    except OSError:
        connection.close()


def handler_of(wanted):
    context = context_of(wanted) if "certificate" in wanted else None
    if wanted.get("is_proxy"):
        return lambda connection: proxy(connection, wanted, context)
    return lambda connection: serve(connection, context)


def listen(listener, handler):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handler, args=(connection,), daemon=True).start()


WANTED = json.loads(sys.argv[1])
ANSWERS = WANTED["answers"]
PORTS = []
for one in WANTED["servers"]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    PORTS.append(listener.getsockname()[1])
    threading.Thread(target=listen, args=(listener, handler_of(one)), daemon=True).start()
print(json.dumps(PORTS), flush=True)
sys.stdin.read()
os._exit(0)
