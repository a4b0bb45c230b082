"""Measures the way of a session: how many a second go through the queue, and how long one takes to its prompt.

The service and its workers are real processes on a folder of their own. The queue is measured with an agent that only
reads its prompt; the time to the prompt is from the begin of the create call to the agent's first byte, without a file
and with one of 100 MB. The memory is that of a worker process whose ACP agents all wait for their next message. Standard library only; `bench/run sessions --help` lists the options.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

MB = 1_000_000
# Answers each turn with nothing and waits for the next.
WAITS = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    result = {"initialize": {"protocolVersion": 1, "agentCapabilities": {}}, "session/new": {"sessionId": "s"},
              "session/prompt": {"stopReason": "end_turn"}}.get(asked.get("method"), {})
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
AGENT = "head -c 1 > /dev/null; date +%s%N > output/first; cat > /dev/null; echo done"
READS = f'program = "/bin/sh"\nargs = ["-c", {json.dumps(AGENT)}]'


class Service:
    """A service with `workers` processes beside it; with none it runs its sessions itself."""

    def __init__(self, folder, isolation, workers, profile=READS):
        self.data = folder / "data"
        config = folder / "satchel.toml"
        config.write_text(
            f'isolation = "{isolation}"\nlog = "error"\nmin_free_bytes = 0\nsessions_per_org = 1000\n'
            f"max_parked_agents = 10000\n[agents.bench]\n{profile}\n"
        )
        self.command = [os.environ["SATCHEL_BIN"], "serve", "--data", self.data, "--config", config]
        # What configures the measurement is no configuration of the service.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SATCHEL_")}
        self.running = []
        role = "api" if workers else "all"
        self.url = self.start("listening on ", "--role", role, "--listen", "127.0.0.1:0")
        self.key = json.loads((self.data / "first-run.json").read_text())["personal_key"]
        for _ in range(workers):
            self.start("working on ", "--role", "worker", "--public-url", self.url)

    def start(self, line, *arguments):
        command = [*self.command, *arguments]
        self.running.append(subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True))
        for said in self.running[-1].stdout:
            if said.startswith(line):
                return said.removeprefix(line).strip()
        raise SystemExit("the service did not start")

    def stop(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()

    def call(self, path, body=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers)) as answer:
            return json.load(answer)

    def upload(self, size):
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n\r\n'
        return self.call("/v1/attachments", head + os.urandom(size) + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")

    def create(self, prompt):
        return self.call("/v1/sessions", {"prompt": prompt})["session_id"]

    def wait(self, session):
        while self.call(f"/v1/sessions/{session}")["status_enum"] == "working":
            time.sleep(0.005)


def queue(service, sessions):
    """Sessions a second, from the first create call to the end of the last turn."""
    begun = time.monotonic()
    created = [service.create("go") for _ in range(sessions)]
    for session in created:
        service.wait(session)
    return sessions / (time.monotonic() - begun)


def to_prompt(service, rounds, line):
    """Median milliseconds from the begin of the create call to the agent's first byte of the prompt."""
    took = []
    for _ in range(rounds):
        begun = time.time_ns()
        session = service.create(f"go\n{line}")
        service.wait(session)
        first = service.data / "sessions" / session / "ws/output/first"
        took.append((int(first.read_text()) - begun) / 1e6)
    return statistics.median(took)


def memory(pid):
    """Proportional set size of a process, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def below(pid):
    """The program's own processes below one of it: what supervises each agent."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in children.read_text().split()]
    program = Path(os.environ["SATCHEL_BIN"]).resolve()
    return [pid for pid in found if Path(f"/proc/{pid}/exe").resolve() == program]


def waiting(folder, isolation, agents):
    """MiB of a worker before its first session, with so many agents that wait, and of what supervises one agent."""
    profile = f'kind = "acp"\nprogram = "/usr/bin/python3"\nargs = ["-c", {json.dumps(WAITS)}]'
    service = Service(folder, isolation, 1, profile)
    try:
        worker = service.running[-1].pid
        before = memory(worker)
        for session in [service.create("go") for _ in range(agents)]:
            service.wait(session)
        supervisors = [memory(pid) for pid in below(worker)]
        return before, memory(worker), statistics.median(supervisors or [0])
    finally:
        service.stop()


def main():
    parser = argparse.ArgumentParser(prog="bench/run sessions", description=__doc__.split("\n\n")[0])
    parser.add_argument("--sessions", type=int, default=200, help="sessions through the queue (200)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the time to the prompt (5)")
    parser.add_argument("--isolation", nargs="*", default=["bubblewrap", "none"], help="bubblewrap, landlock, none")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="worker processes; 0: in the service (0 2)")
    parser.add_argument("--waiting", type=int, default=50, help="agents that wait while memory is measured (50)")
    parser.add_argument("--folder", type=Path, default=Path("target/bench"), help="where the data lie")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| isolation | workers | sessions a second | ms to the prompt | with 100 MB |\n| --- | --- | --- | --- | --- |")
    for isolation in options.isolation:
        for workers in options.workers:
            with tempfile.TemporaryDirectory(prefix="sessions-", dir=options.folder) as folder:
                service = Service(Path(folder).resolve(), isolation, workers)
                try:
                    rate = queue(service, options.sessions)
                    plain = to_prompt(service, options.rounds, "")
                    large = to_prompt(service, options.rounds, f'ATTACHMENT:"{service.upload(100 * MB)}"')
                finally:
                    service.stop()
                processes = workers or "in the service"
                print(f"| {isolation} | {processes} | {rate:.0f} | {plain:.0f} | {large:.0f} |", flush=True)
    print(f"\n| isolation | a worker, MiB | with {options.waiting} agents that wait | what supervises one |\n| --- | --- | --- | --- |")
    for isolation in options.isolation:
        with tempfile.TemporaryDirectory(prefix="sessions-", dir=options.folder) as folder:
            before, after, each = waiting(Path(folder).resolve(), isolation, options.waiting)
            print(f"| {isolation} | {before:.1f} | {after:.1f} | {each:.1f} |", flush=True)


if __name__ == "__main__":
    main()
