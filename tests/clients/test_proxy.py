"""Behind the reverse proxy that the README shows: TLS, large files, streams of events.

nginx runs with the README's own block; only its names, addresses and certificates are the test's.
"""

import json
import os
import re
import socket
import subprocess
import threading

import pytest

import service
import wire

# At work until there is a file `go` in its folder.
AGENT = "sha256sum attachments/* 2> /dev/null; echo > ready; until [ -e go ]; do sleep 0.05; done; echo done"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate for `localhost`, its key, and the authority that vouches for it."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *words], cwd=folder, check=True, capture_output=True)

    openssl("-subj", "/CN=Test", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(
        *("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"),
        *("-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"),
    )
    return folder


class Nginx:
    """nginx in the foreground, with the README's block."""

    def __init__(self, folder, server_block):
        self.command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")]
        (folder / "nginx.conf").write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n"
            f"client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/f;\n"
            f"uwsgi_temp_path {folder}/u;\nscgi_temp_path {folder}/s;\n{server_block}\n}}\n"
        )
        self.start()

    def start(self):
        environment = service.clean_environment() | {"PATH": os.environ["PATH"] + ":/usr/sbin"}
        self.process = subprocess.Popen(self.command, env=environment)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def site(start, certificates, tmp_path):
    """A service behind nginx: both, and the address that people use."""
    readme = (service.ROOT / "README.md").read_text()
    block = re.search(r"```nginx\n(.*?)```", readme, re.DOTALL).group(1)
    settings = re.search(r"```toml\n(listen = .*?trusted_proxies.*?)```", readme, re.DOTALL).group(1)
    port = free_port()
    url = f"https://localhost:{port}"
    settings = settings.replace('listen = "127.0.0.1:8080"\n', "").replace("https://files.example.org", url)
    agent = f'[agents.script]\nprogram = "/bin/sh"\nargs = ["-c", {json.dumps(AGENT)}]\n'
    behind = start(settings + agent)
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "server_name files.example.org": "server_name localhost",
        "/etc/ssl/files.example.org.pem": str(certificates / "cert.pem"),
        "/etc/ssl/files.example.org.key": str(certificates / "key.pem"),
        "http://127.0.0.1:8080": behind.url,
    }
    for shown, ours in changes.items():
        assert shown in block, f"the README's block has no {shown}"
        block = block.replace(shown, ours)
    proxy = Nginx(tmp_path, block)
    client = behind.v1()
    client.base, client.verify = url + "/v1", str(certificates / "ca.pem")
    client.trust_env = False  # a bundle that the environment names would win over `verify`
    service.until(lambda: client.get(url + "/health/ready").ok, 30, "the proxy and the service behind it")
    yield behind, proxy, url, client
    proxy.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def satchel(behind, url, *words, **environment):
    environment = behind.environment | {"SATCHEL_API_KEY": behind.personal_key} | environment
    command = [service.BINARY, "session", "run", "--url", url, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def go_on(behind, session_id):
    workspace = behind.data / "sessions" / session_id / "ws"
    service.until((workspace / "ready").exists, 60, "the agent at work")
    (workspace / "go").touch()


def test_the_command_line_hands_over_a_large_file_by_https(site, certificates, tmp_path):
    behind, _, url, client = site
    content = b"".join(wire.blocks("large", 40_000_000))
    (tmp_path / "large.bin").write_bytes(content)
    words = ("--prompt", "Read it.", "--attach", tmp_path / "large.bin", "--output", tmp_path / "back")
    running = satchel(behind, url, *words, SSL_CERT_FILE=str(certificates / "ca.pem"))
    sessions = service.until(lambda: service.good(client.get("/sessions"))["sessions"], 60, "the session")
    go_on(behind, sessions[0]["session_id"])
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert service.sha256(content) in out, out


def test_the_command_line_refuses_a_certificate_that_nobody_it_knows_vouches_for(site):
    behind, _, url, client = site
    running = satchel(behind, url, "--prompt", "Hello.", SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt")
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1, err
    assert "certificate" in err, err
    assert behind.personal_key not in err
    assert service.good(client.get("/sessions"))["sessions"] == []


def test_an_event_source_comes_back_and_is_told_each_event_once(site, certificates):
    behind, proxy, url, client = site
    session_id = client.create("Hello.")["session_id"]
    modules = service.TOOLS / "node/node_modules"
    follower = subprocess.Popen(
        [modules / ".bin/node", service.ROOT / "tests/clients/events.mjs", modules, f"{url}/v1/sessions/{session_id}/events"],
        env=behind.environment | {"KEY": behind.personal_key, "NODE_EXTRA_CA_CERTS": str(certificates / "ca.pem")},
        stdout=subprocess.PIPE,
        text=True,
    )
    told = []

    def listen():
        told.extend(json.loads(line) for line in follower.stdout)

    listener = threading.Thread(target=listen)

    def kinds():
        return [one["event"] for one in told]

    def read_until(kind):
        while True:
            line = follower.stdout.readline()
            assert line, f"it ended early: {told}"
            told.append(json.loads(line))
            if told[-1]["event"] == kind:
                return

    try:
        read_until("message")
        proxy.stop()
        read_until("broken")
        proxy.start()
        read_until("open")
        listener.start()
        go_on(behind, session_id)
        client.settled_v1(session_id)
        service.good(client.delete(f"/sessions/{session_id}"))
        service.until(lambda: "over" in kinds(), 60, "the end of the stream")
    finally:
        follower.kill()
        follower.wait()
    assert kinds().count("open") >= 2 and told[-1] == {"event": "over", "code": 204}, told
    lines = client.get(f"/sessions/{session_id}/events?until=now").text.splitlines()
    wanted = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    assert [one["id"] for one in told if "id" in one] == wanted
    said = [one["data"]["message"] for one in told if one["event"] == "message"]
    assert said[0] == "Hello." and "done" in said[1]
