"""Compares our service with nginx and with a FastAPI service, on this machine and this disk, in turns.

Each case starts all of them afresh, then measures them in interleaved rounds (A B C A B C), with the disk synced
before each measurement. A ratio is taken within a round, and the median over the rounds is reported, with the
server's CPU for each request, which drifts far less than the rates. `--help` lists the cases. The table is
printed and written to `target/bench/results.md`.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import contestants

HERE = Path(__file__).resolve().parent
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
STORED_FILES = 256
ORDER = [contestants.Satchel, contestants.Fastapi, contestants.FastapiThreads, contestants.Nginx]


@dataclass
class Case:
    """`kind` is `uploads`, `downloads` (many small ones by wrk), `upload` or `download` (one large one by curl)."""

    kind: str
    size: int
    clients: int = 1

    @property
    def title(self):
        if self.kind in ("upload", "download"):
            return f"{self.kind} of 1 GiB"
        return f"{self.kind} of {self.size // KIB} KiB, {self.clients} client{'s' * (self.clients > 1)}"


@dataclass
class Figures:
    """One measurement: a rate (requests or MB a second), CPU (us a request or s a GiB), p99 in ms, peak memory."""

    rate: float
    cpu: float
    p99: float
    peak: int

    def __str__(self):
        return f"rate {self.rate:.0f}, server CPU {self.cpu:.2f}, p99 {self.p99:.1f} ms, peak {self.peak / MIB:.0f} MiB"


CASES = {
    "upload-4k-1": Case("uploads", 4 * KIB, 1),
    "upload-4k-16": Case("uploads", 4 * KIB, 16),
    "upload-4k-64": Case("uploads", 4 * KIB, 64),
    "upload-64k-16": Case("uploads", 64 * KIB, 16),
    "upload-1g": Case("upload", GIB),
    "download-1g": Case("download", GIB),
    "download-4k-64": Case("downloads", 4 * KIB, 64),
}
# What the project has set itself: the case, against whom, and the least ratio of our rate to theirs.
GOALS = [
    ("upload-4k-64", "fastapi", 10.0),
    ("upload-4k-64", "fastapi-threads", 10.0),
    ("upload-4k-64", "nginx", 0.3),
    ("upload-1g", "nginx", 0.45),
]


def main():
    options = arguments()
    results = {}
    for name in options.cases:
        results[name] = measure_case(CASES[name], options)
        print(table({name: results[name]}), flush=True)
    text = report(results, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)
    print(f"{text}\nwritten to {options.output}")


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__.split("\n\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)}; all when none is named")
    parser.add_argument("--seconds", type=int, default=5, help="length of a measurement of small files (5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (5)")
    parser.add_argument("--folder", type=Path, help="where the services keep their data; it decides which disk is measured")
    parser.add_argument("--output", type=Path, default=Path("target/bench/results.md"), help="where the table goes")
    options = parser.parse_args()
    if unknown := [case for case in options.cases if case not in CASES]:
        parser.error(f"unknown case {', '.join(unknown)}; there are {', '.join(CASES)}")
    options.cases = options.cases or list(CASES)
    options.folder = (options.folder or options.output.parent).resolve()
    return options


def measure_case(case, options):
    """The figures of every round: `{name of the service: [Figures, ...]}`."""
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.folder))
    tools = Path(os.environ["SATCHEL_TEST_TOOLS"])
    running, rounds = [], {one.name: [] for one in ORDER}
    try:
        for one in ORDER:
            running.append(one(folder, tools))
            running[-1].start()
        loads = {one.name: prepare(case, one, folder) for one in running}
        for number in range(options.rounds):
            for one in running:
                os.sync()
                rounds[one.name].append(loads[one.name](options.seconds))
                print(f"{case.title}, round {number + 1}, {one.name}: {rounds[one.name][-1]}", flush=True)
    finally:
        for one in running:
            one.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return rounds


def prepare(case, one, folder):
    """Stores what the case reads, and returns the measurement to make: a function of its seconds."""
    keys = folder / f"{one.name}-keys"
    keys.write_text("".join(f"{key}\n" for key in one.keys))
    if case.kind == "uploads":
        return lambda seconds: wrk(one, case.clients, seconds, one.upload_path, one.upload_kind, case.size, keys)
    if case.kind == "downloads":
        paths = folder / f"{one.name}-paths"
        stored = [one.store(os.urandom(case.size), number) for number in range(STORED_FILES)]
        paths.write_text("".join(f"{path}\n" for path in stored))
        return lambda seconds: wrk(one, case.clients, seconds, "/", "get", paths, keys)
    large = folder / "large.bin"
    if not large.exists():
        with open(large, "wb") as out:
            for _ in range(case.size // MIB):
                out.write(os.urandom(MIB))
    if case.kind == "upload":
        return lambda _: curl(one, case.size, one.curl_upload(large))
    answer = curl_text(one, one.curl_upload(large))
    path = answer.strip().strip('"').removeprefix(one.url) if one.upload_kind == "upload" else nginx_path(one)
    return lambda _: curl(one, case.size, ["--output", "/dev/null", one.url + path])


def nginx_path(one):
    [stored] = (one.folder / "files").iterdir()
    return f"/files/{stored.name}"


def wrk(one, clients, seconds, path, *script_arguments):
    before, _ = contestants.figures(one.process.pid)
    done = subprocess.run(
        [
            *("wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s", "--timeout", "30s"),
            *("--script", HERE / "wrk.lua", one.url + path, "--", *(str(argument) for argument in script_arguments)),
        ],
        capture_output=True,
        text=True,
    )
    after, peak = contestants.figures(one.process.pid)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode != 0 or line is None:
        raise RuntimeError(f"wrk failed against {one.name}: {done.stdout}{done.stderr}")
    requests, duration, _, p99, refused, broken = (int(word) for word in line.split()[1:])
    if refused or broken or not requests:
        raise RuntimeError(f"{one.name}: {refused} of {requests} requests were refused, {broken} broke: nothing is measured")
    return Figures(requests / (duration / 1e6), (after - before) * 1e6 / requests, p99 / 1e3, peak)


def curl(one, size, arguments):
    before, _ = contestants.figures(one.process.pid)
    started = time.monotonic()
    curl_text(one, arguments)
    seconds = time.monotonic() - started
    after, peak = contestants.figures(one.process.pid)
    return Figures(size / 1e6 / seconds, (after - before) * GIB / size, seconds * 1e3, peak)


def curl_text(one, arguments):
    """What curl prints. The credential goes in by standard input, so that it is in no list of processes."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--config", "-", "--header", "Expect:", *arguments],
        input=f'header = "Authorization: Bearer {one.keys[0]}"\n',
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"curl failed against {one.name}: {done.stderr}")
    return done.stdout


def report(results, options):
    goals = [goal for goal in (goal_line(results, *goal) for goal in GOALS) if goal]
    return "\n".join(
        [
            "# Benchmark",
            "",
            f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs, Linux {platform.release()}; {options.rounds} rounds in",
            f"turns, {options.seconds} s for each measurement of small files. Medians over the rounds; a ratio is our rate",
            "over theirs within the same round. Both fastapi are as durable as ours (its endpoint on the event loop, or on threads), nginx neither syncs nor hashes. CPU is the",
            "server's, for each request (us) or each GiB (s). Compare within one run only: rates drift from run to run.",
            "",
            table(results),
            *(["", "Goals:", "", *goals] if goals else []),
            "",
        ]
    )


def table(results):
    lines = [
        "| case | service | rate | ratio to it | server CPU | p99 ms | peak memory MiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rounds in results.items():
        large = CASES[name].kind in ("upload", "download")
        for service, figures in rounds.items():
            rate = median(figures, "rate")
            cpu = median(figures, "cpu")
            cells = [
                CASES[name].title,
                service,
                f"{rate:.0f} MB/s" if large else f"{rate:.0f} /s",
                "" if service == "satchel" else f"{ratio(rounds, service):.2f}",
                f"{cpu:.2f} s" if large else f"{cpu:.0f} us",
                "" if large else f"{median(figures, 'p99'):.1f}",
                f"{max(one.peak for one in figures) / MIB:.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def goal_line(results, name, against, least):
    if name not in results:
        return None
    reached = ratio(results[name], against)
    verdict = "reached" if reached >= least else "NOT reached"
    return f"- {CASES[name].title}: at least {least} times {against}: {reached:.2f}, {verdict}"


def ratio(rounds, against):
    return statistics.median(ours.rate / theirs.rate for ours, theirs in zip(rounds["satchel"], rounds[against]))


def median(figures, field):
    return statistics.median(getattr(one, field) for one in figures)


if __name__ == "__main__":
    main()
