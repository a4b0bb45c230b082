"""Trial: slow and hostile clients, each with a healthy client beside it that goes on.

The healthy client has a key of its own; it uploads and reads back all the while. Each of its exchanges must be
right and take less than `PATIENCE`, the service must still be there, and its memory must have stayed flat.
"""

import contextlib
import json
import socket
import threading
import time
import uuid

import pytest

import service
import wire

PATIENCE = 5.0
MEMORY = 96 << 20
HEADER_SECONDS = 10
SILENCE_SECONDS = 5
MARGIN = 10

pytestmark = pytest.mark.trial


@contextlib.contextmanager
def healthy_client_beside(server):
    """Uploads and reads back until the block ends; then judges how that went."""
    stop, slowest, wrong = threading.Event(), [], []

    def go_on():
        client = server.v1(server.service_key)
        number = 0
        while not stop.is_set() and not wrong:
            content = b"healthy %d\n" % number * 100
            started = time.monotonic()
            try:
                url = client.upload("healthy.txt", content)
                if client.download(url) != content:
                    wrong.append("other bytes came back")
            except Exception as error:
                wrong.append(repr(error))
            slowest.append(time.monotonic() - started)
            number += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
        service.until(lambda: len(slowest) >= 5 or wrong, 5 * PATIENCE, "five exchanges of the healthy client")
    finally:
        stop.set()
        thread.join()
    assert wrong == []
    assert max(slowest) < PATIENCE
    assert server.process.poll() is None
    assert server.peak_memory() < MEMORY


def test_slow_headers_are_cut_off(server):
    """100 connections that send a header byte now and then never finish their head, and are closed in time."""
    with healthy_client_beside(server):
        connections = [wire.connect(server.port) for _ in range(100)]
        started = time.monotonic()
        for connection in connections:
            connection.sendall(b"POST /v1/attachments HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            connection.setblocking(False)
        open_ones = set(range(len(connections)))
        while open_ones and time.monotonic() - started < HEADER_SECONDS + MARGIN:
            for i in list(open_ones):
                if closed_by_the_service(connections[i], b"x"):
                    open_ones.discard(i)
            time.sleep(0.5)  # The pace of the slow sender.
        assert open_ones == set(), f"{len(open_ones)} still open after {HEADER_SECONDS + MARGIN} s"


def test_silent_bodies_are_cut_off_and_leave_nothing(start):
    """Uploads that stop in the middle are given up after the time for silence, and nothing of them is kept."""
    server = start(config=f"body_silence_seconds = {SILENCE_SECONDS}\n")
    marker = f"never finished {uuid.uuid4()} ".encode()
    with healthy_client_beside(server):
        connections = [wire.connect(server.port) for _ in range(32)]
        head, _ = wire.form_edges()
        for connection in connections:
            connection.sendall(wire.request_head(server.personal_key, 1 << 30) + head + marker * 10_000)
        started = time.monotonic()
        for connection in connections:
            connection.settimeout(SILENCE_SECONDS + MARGIN)
            status, _ = answer_or_reset(connection)
            assert status is None or 400 <= status < 500
        assert time.monotonic() - started < SILENCE_SECONDS + MARGIN
    assert [path for path in server.data.rglob("*") if path.is_file() and marker in path.read_bytes()] == []


def test_a_flood_of_headers_is_refused(server):
    with healthy_client_beside(server):
        for line in (b"X-%d: y\r\n", b"X-%d: " + b"y" * 4000 + b"\r\n"):
            lines = b"".join(line % i for i in range(5_000))
            assert_refused(server, b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")


def test_a_flood_of_part_headers_is_refused(server):
    with healthy_client_beside(server):
        for line in (b"X-%d: y\r\n", b"X-%d: " + b"y" * 4000 + b"\r\n"):
            lines = b"".join(line % i for i in range(5_000))
            head, tail = wire.form_edges()
            assert_form_refused(server, head.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n", 1) + b"x" + tail)


def test_a_flood_of_parts_is_refused(server):
    part = f'--{wire.BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'.encode()
    large = part.replace(b"\r\n\r\n\r\n", b"\r\n\r\n" + b"y" * 100_000 + b"\r\n")
    with healthy_client_beside(server):
        assert_form_refused(server, part * 200_000 + f"--{wire.BOUNDARY}--\r\n".encode())
        assert_form_refused(server, large * 100 + f"--{wire.BOUNDARY}--\r\n".encode())


@pytest.mark.parametrize("boundary", [wire.BOUNDARY, "-" * 70, "a" + "-" * 60 + "a"], ids=["plain", "dashes", "mixed"])
def test_near_boundaries_in_the_file_are_kept_and_cost_little(server, boundary):
    """Bytes full of almost-boundaries are a file like any other."""
    near = f"\r\n--{boundary}"[:-1].encode()
    content = (near + b"\r\n-" + near[:-1] + b"\r") * ((8 << 20) // (2 * len(near)))
    head, tail = (edge.replace(wire.BOUNDARY.encode(), boundary.encode()) for edge in wire.form_edges())
    body = head + content + tail
    with healthy_client_beside(server):
        started = time.monotonic()
        with wire.connect(server.port) as connection:
            connection.sendall(wire.request_head(server.personal_key, len(body), boundary) + body)
            status, said = wire.answer(connection)
        assert status == 200, said[:500]
        assert time.monotonic() - started < PATIENCE
    url = json.loads(said)
    assert service.sha256(server.v1().download(url)) == service.sha256(content)


@pytest.mark.parametrize("boundary", ["b" * 257, "b" * 100_000, "b\x01b"], ids=["257", "100000", "control"])
def test_a_bad_boundary_is_refused(server, boundary):
    with healthy_client_beside(server):
        body = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--{boundary}--\r\n'
        assert_refused(server, wire.request_head(server.personal_key, len(body), boundary) + body.encode())


def test_a_body_that_lies_about_its_length_leaves_nothing(server):
    """Half a form, then the end: no answer of success, and the next client is served."""
    with healthy_client_beside(server):
        for _ in range(20):
            head, _ = wire.form_edges()
            with wire.connect(server.port) as connection:
                connection.sendall(wire.request_head(server.personal_key, 1 << 20) + head + b"x" * 1000)
                connection.shutdown(socket.SHUT_WR)
                status, _ = answer_or_reset(connection)
                assert status is None or 400 <= status < 500


def assert_form_refused(server, body):
    assert_refused(server, wire.request_head(server.personal_key, len(body)) + body)


def assert_refused(server, request):
    """Sends a whole request and wants a 4xx, or the connection closed, soon."""
    started = time.monotonic()
    with wire.connect(server.port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        status, said = answer_or_reset(connection)
    assert status is None or 400 <= status < 500, (status, said[:500])
    assert time.monotonic() - started < HEADER_SECONDS + MARGIN


def answer_or_reset(connection):
    """The answer, or `(None, b"")` when the service closed the connection without one."""
    try:
        return wire.answer(connection)
    except ConnectionError:
        return None, b""


def closed_by_the_service(connection, drip):
    """Sends one more byte, and tells whether the other side has ended the connection."""
    try:
        connection.send(drip)
        return connection.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
