"""A real `satchel serve` for the tests: started on a free port with a data folder of its own, ended with SIGTERM.

The binary is `SATCHEL_BIN`, by default the release build of this repository. Nothing here is mocked: the
service is reached over its socket alone, with the credentials that `satchel init` printed.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("SATCHEL_BIN", ROOT / "target/release/satchel")).resolve()
TOOLS = Path(os.environ.get("SATCHEL_TEST_TOOLS", ROOT / "target/test-tools")).resolve()
FULL = os.environ.get("TEST_FULL") == "1"
READY_SECONDS = 30
STOP_SECONDS = 30


class Satchel:
    """One service process. `org_id`, `personal_key`, `service_key` and `service_user_token` are its first keys."""

    def __init__(self, data, config="", environment=None):
        """Starts on the folder `data`, made if absent, with `config` as the text of its configuration file."""
        if not BINARY.exists():
            raise FileNotFoundError(f"{BINARY} is missing: build it with cargo build --release, or set SATCHEL_BIN")
        self.data = Path(data)
        self.environment = clean_environment() | (environment or {})
        keys_file = self.data.with_name(self.data.name + "-keys.json")
        if not keys_file.exists():
            keys_file.write_text(self.command("init", "--data", str(self.data), "--json"))
        keys = json.loads(keys_file.read_text())
        self.org_id = keys["org_id"]
        self.personal_key = keys["personal_key"]
        self.service_key = keys["service_key"]
        self.service_user_token = keys["service_user_token"]
        self.log = self.data.with_name(self.data.name + "-stderr.log")
        arguments = ["serve", "--listen", "127.0.0.1:0", "--data", str(self.data)]
        if config:
            config_file = self.data.with_name(self.data.name + "-config.toml")
            config_file.write_text(config)
            arguments += ["--config", str(config_file)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment
            )
        self.url = None
        self.killed = False
        self._listening = threading.Event()
        threading.Thread(target=self._read_output, daemon=True).start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def command(self, *arguments):
        """The standard output of another `satchel` command; fails with its standard error."""
        done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, env=self.environment, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"satchel {arguments[0]} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def stop(self):
        """Ends the service with SIGTERM, after `STOP_SECONDS` with SIGKILL, and returns its exit status; 0 for one that was killed."""
        if self.killed:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def kill(self):
        """Ends the service as a crash of the machine would: SIGKILL, and nothing after it."""
        self.process.kill()
        self.process.wait()
        self.killed = True

    def peak_memory(self):
        """The largest resident memory of the service so far, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE).group(1)) * 1024

    def v1(self, key=None):
        return Client(self, key or self.personal_key, "/v1")

    def v3(self, key=None):
        return Client(self, key or self.service_user_token, f"/v3/organizations/{self.org_id}")

    def _read_output(self):
        for line in self.process.stdout:
            if found := re.search(r"listening on (http://\S+)", line):
                self.url = found.group(1).rstrip("/")
                self._listening.set()
        self._listening.set()

    def _wait_until_ready(self):
        if not self._listening.wait(READY_SECONDS) or self.url is None:
            raise RuntimeError(f"the service did not listen:\n{self.log_tail()}")
        until(lambda: requests.get(self.url + "/health/ready", timeout=5).status_code == 200, READY_SECONDS, "ready")

    def log_tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Client(requests.Session):
    """A `requests` session that knows the base path and the credential; paths are given below the base."""

    def __init__(self, service, key, base):
        super().__init__()
        self.service = service
        self.base = service.url + base
        self.headers["Authorization"] = f"Bearer {key}"

    def request(self, method, url, **options):
        options.setdefault("timeout", 60)
        return super().request(method, url if url.startswith("http") else self.base + url, **options)

    def upload(self, name, content):
        """Uploads `content` as a file named `name`; the URL (v1) or the AttachmentResponse (v3)."""
        return good(self.post("/attachments", files={"file": (name, content)}))

    def create(self, prompt, **fields):
        return good(self.post("/sessions", json={"prompt": prompt, **fields}))

    def download(self, url):
        answer = self.get(url)
        answer.raise_for_status()
        return answer.content

    def settled_v1(self, session_id, seconds=60):
        """The v1 session once a public poller would stop; fails after `seconds`."""
        return self._settled(session_id, seconds, lambda s: s["status_enum"] in ("blocked", "finished"))

    def settled_v3(self, session_id, seconds=60):
        """The v3 session once its turn has ended, well or not; fails after `seconds`."""
        return self._settled(
            session_id,
            seconds,
            lambda s: s["status"] in ("exit", "error", "suspended")
            or (s["status"] == "running" and s["status_detail"] in ("waiting_for_user", "finished")),
        )

    def _settled(self, session_id, seconds, over):
        def look():
            session = good(self.get(f"/sessions/{session_id}"))
            return session if over(session) else None

        return until(look, seconds, f"the end of a turn of {session_id}", pause=0.1)


def good(answer):
    """The JSON of an answer that must be a success; a failure shows the body."""
    assert answer.ok, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:2000]}"
    return answer.json()


def until(condition, seconds, what, pause=0.05):
    """Asks `condition` again and again until it is true, and returns what it gave; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except requests.ConnectionError:
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for: {what}")
        time.sleep(pause)


def clean_environment():
    """This process's environment without what would configure the service or a client by the way."""
    unwanted = ("SATCHEL_", "DEVIN_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def attachment_urls(text):
    """The URLs of the ATTACHMENT lines in a message of the service."""
    return re.findall(r'^ATTACHMENT:"([^"\n]+)"$', text, re.MULTILINE)
