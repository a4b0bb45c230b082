"""The services that the benchmark compares, each a real process on a free port with a folder of its own.

nginx takes a PUT after a bearer check and neither hashes nor syncs: it is the measure of what the machine can do.
FastAPI is what a team has today, made as durable as ours, in the two ways in which it is written. `figures` reads what a service has used from /proc.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30

NGINX = """
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_authorization $allowed {{ default 0; "Bearer {token}" 1; }}
  server {{
    listen 127.0.0.1:{port};
    location /files/ {{
      root {folder};
      if ($allowed = 0) {{ return 401; }}
      dav_methods PUT;
      create_full_put_path on;
    }}
  }}
}}
"""


class Contestant:
    """A running service: `keys` may use it, `upload_path` takes uploads of the `upload_kind` of wrk.lua."""

    upload_path = "/v1/attachments"
    upload_kind = "upload"

    def __init__(self, folder, tools):
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self.tools = tools
        self.log = open(self.folder / "output.log", "w+")
        self.process = None
        self.keys = [secrets.token_urlsafe(24)]
        self.port = free_port()

    def run(self, arguments, environment=None):
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=clean_environment() | (environment or {}),
        )
        end = time.monotonic() + START_SECONDS
        while not accepts(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{self.name} did not start: {Path(self.log.name).read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def store(self, content, number):
        """Uploads `content` and returns the path from which it can be read."""
        boundary = "store-boundary"
        form = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{number}.bin"\r\n\r\n'
        body = form.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = json.loads(self.send("POST", self.upload_path, body, headers))
        return answer.removeprefix(self.url)

    def send(self, method, path, body, headers):
        headers = {"Authorization": f"Bearer {self.keys[0]}", **headers}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def curl_upload(self, file):
        """The arguments with which curl uploads a large file."""
        return ["--form", f"file=@{file}", self.url + self.upload_path]


class Satchel(Contestant):
    name = "satchel"

    def start(self):
        binary = Path(os.environ["SATCHEL_BIN"])
        data = self.folder / "data"

        command = [binary, "init", "--data", data, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=True)
        self.keys = [json.loads(done.stdout)["personal_key"]]
        return self.run([binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", data])


class Fastapi(Contestant):
    name = "fastapi"

    def start(self):
        return self.run(
            [
                *(self.tools / "venv-bench/bin/python", "-m", "uvicorn", "fastapi_app:app", "--app-dir", HERE),
                *("--host", "127.0.0.1", "--port", self.port, "--workers", 2, "--no-access-log", "--log-level", "warning"),
            ],
            {"BENCH_DATA": str(self.folder), "BENCH_TOKEN": self.keys[0]},
        )


class FastapiThreads(Fastapi):
    name = "fastapi-threads"
    upload_path = "/threads/v1/attachments"


class Nginx(Contestant):
    name = "nginx"
    upload_path = "/files/"
    upload_kind = "put"

    def start(self):
        (self.folder / "files").mkdir()
        user = "user root;" if os.geteuid() == 0 else ""
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, user=user, token=self.keys[0], port=self.port))
        program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        return self.run([program, "-p", self.folder, "-c", config])

    def store(self, content, number):
        self.send("PUT", f"/files/stored-{number}", content, {})
        return f"/files/stored-{number}"

    def curl_upload(self, file):
        return ["--upload-file", str(file), f"{self.url}/files/large-{secrets.token_hex(8)}"]


def figures(root):
    """`(seconds of CPU, peak resident bytes)` of the process tree below `root`, summed over its processes."""
    children, ticks = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(stat[1]), []).append(int(entry.name))
            ticks[int(entry.name)] = int(stat[11]) + int(stat[12])
    cpu, peak, tree = 0, 0, [root]
    for pid in tree:
        cpu += ticks.get(pid, 0)
        peak += peak_memory(pid)
        tree += children.get(pid, [])
    return cpu / TICKS, peak


def peak_memory(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("SATCHEL_")}
