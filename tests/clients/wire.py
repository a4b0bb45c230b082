"""Uploads written onto the socket by hand: for sizes that no client library streams flat, and for bad manners.

The bytes of a large file are made on the way, from its seed, so that neither side needs the file.
"""

import hashlib
import json
import socket
import struct

BOUNDARY = "----------------------------wire-boundary"
CHUNK = 1 << 20


def blocks(seed, size):
    """The bytes of a made file of `size` bytes, in chunks; two seeds never give the same file."""
    pattern = hashlib.shake_128(seed.encode()).digest(CHUNK - 8)
    for number in range(0, (size + CHUNK - 1) // CHUNK):
        chunk = struct.pack(">Q", number) + pattern
        yield chunk[: size - number * CHUNK]


def digest(seed, size):
    total = hashlib.sha256()
    for chunk in blocks(seed, size):
        total.update(chunk)
    return total.hexdigest()


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=300)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def form_edges(name="data.bin"):
    """What comes before and after the bytes of the one file of a form."""
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def request_head(key, length, boundary=BOUNDARY, path="/v1/attachments"):
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {length}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()


def upload(port, key, seed, size):
    """Uploads the made file as fast as it goes, and returns its URL."""
    head, tail = form_edges()
    with connect(port) as connection:
        connection.sendall(request_head(key, len(head) + size + len(tail)) + head)
        for chunk in blocks(seed, size):
            connection.sendall(chunk)
        connection.sendall(tail)
        status, body = answer(connection)
    assert status == 200, (status, body[:500])
    return json.loads(body)


def answer(connection):
    """The status and the body of the one answer on a connection that the service closes after it."""
    text = b""
    while chunk := connection.recv(1 << 16):
        text += chunk
    if not text:
        return None, b""
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


def download(session, url):
    """Reads a file from the service chunk by chunk, and returns its size and its SHA-256."""
    total, size = hashlib.sha256(), 0
    with session.get(url, stream=True, timeout=300) as got:
        assert got.status_code == 200, (got.status_code, got.text[:500])
        for chunk in got.iter_content(CHUNK):
            total.update(chunk)
            size += len(chunk)
    return size, total.hexdigest()
