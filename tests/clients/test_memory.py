"""Trial: the service's memory stays flat, whatever the size and the number of uploads and downloads.

Peak resident memory (VmHWM) below 96 MiB over one 10 GiB upload, 256 slow ones at a time and 16 fast ones of
256 MiB at a time; below 64 MiB over downloads of the same. Without TEST_FULL=1 the one upload is 1 GiB and the
fast ones are 64 MiB each; the numbers of connections and the slow uploads stay.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import service
import wire

MIB = 1 << 20
UPLOAD_LIMIT = 96 * MIB
DOWNLOAD_LIMIT = 64 * MIB
ONE = (10 if service.FULL else 1) * 1024 * MIB
FAST = (256 if service.FULL else 64) * MIB
FAST_AT_ONCE = 16
SLOW_AT_ONCE = 256
# Larger than what a service may buffer for one upload, so that every buffer is full at some time.
SLOW = 2 * MIB
SLOW_SECONDS = 20

pytestmark = [pytest.mark.trial, pytest.mark.timeout(3600)]


def test_memory_stays_flat_over_uploads_and_downloads(start, capsys):
    server = start()
    key = server.personal_key
    peaks, files = {}, {}

    files["one"] = [(wire.upload(server.port, key, "one", ONE), "one", ONE)]
    peaks["one upload"] = server.peak_memory()

    urls = slow_uploads(server, key)
    files["slow"] = [(url, f"slow {i}", SLOW) for i, url in enumerate(urls)]
    peaks["slow uploads"] = server.peak_memory()

    with ThreadPoolExecutor(FAST_AT_ONCE) as pool:
        sent = [pool.submit(wire.upload, server.port, key, f"fast {i}", FAST) for i in range(FAST_AT_ONCE)]
        files["fast"] = [(future.result(), f"fast {i}", FAST) for i, future in enumerate(sent)]
    peaks["fast uploads"] = server.peak_memory()
    assert max(peaks.values()) < UPLOAD_LIMIT, in_mib(peaks)

    # The peak of a process never falls, so that downloads are measured on a fresh one.
    server.stop()
    old_url, server = server.url, start(data=server.data)
    for name, group in files.items():
        with ThreadPoolExecutor(FAST_AT_ONCE) as pool:
            list(pool.map(lambda file: assert_reads_back(server, key, file, old_url), group))
        peaks[f"{name} downloads"] = server.peak_memory()
        assert peaks[f"{name} downloads"] < DOWNLOAD_LIMIT, in_mib(peaks)
    with capsys.disabled():
        print(f"\npeak resident memory in MiB, one of {ONE // MIB} MiB, fast ones of {FAST // MIB} MiB: {in_mib(peaks)}")


def assert_reads_back(server, key, file, old_url):
    url, seed, size = file
    got = wire.download(server.v1(key), url.replace(old_url, server.url))
    assert got == (size, wire.digest(seed, size))


def slow_uploads(server, key):
    """Sends `SLOW_AT_ONCE` files at a time, evenly over `SLOW_SECONDS`, and returns their URLs in order."""
    head, tail = wire.form_edges()
    bodies = [head + b"".join(wire.blocks(f"slow {i}", SLOW)) + tail for i in range(SLOW_AT_ONCE)]
    connections = [wire.connect(server.port) for _ in bodies]
    for connection, body in zip(connections, bodies):
        connection.sendall(wire.request_head(key, len(body)))
        connection.setblocking(False)
    started = time.monotonic()
    sent = [0] * len(bodies)
    while any(done < len(body) for done, body in zip(sent, bodies)):
        share = min(1.0, (time.monotonic() - started) / SLOW_SECONDS)
        for i, connection in enumerate(connections):
            due = bodies[i][sent[i] : int(len(bodies[i]) * share)]
            try:
                sent[i] += connection.send(due) if due else 0
            except BlockingIOError:
                continue
        # The pace of the sender, not a wait for the service.
        time.sleep(0.05)
    urls = []
    for connection in connections:
        connection.settimeout(120)
        status, body = wire.answer(connection)
        connection.close()
        assert status == 200, (status, body[:500])
        urls.append(json.loads(body))
    return urls


def in_mib(peaks):
    return {name: round(peak / MIB, 1) for name, peak in peaks.items()}
