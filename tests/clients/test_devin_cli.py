"""The published `devin-cli`, in two releases, with only its base URL and its credentials set.

1.1.9 has a working `attach`; it writes a space after the colon. By default that line is diagnosed, and with
`lenient_references` the file arrives.
"""

import os
import re
import subprocess

import pytest

import report
import service

DATA = b"day,units\n2026-01-01,3\n2026-01-02,5\n2026-01-03,10\n"
BOTH = pytest.mark.parametrize("release", ["1.5.1", "1.1.9"])
BASES = {"v1": "/v1", "v3": "/v3"}


class Devin:
    """One installed release with a home folder of its own."""

    def __init__(self, release, home):
        folder = "venv" if release == "1.5.1" else f"venv-devin-{release}"
        self.program = service.TOOLS / folder / "bin/devin"
        self.release = release
        self.home = home

    def run(self, server, version, *arguments):
        """The standard output of a `devin` command that must succeed, as plain unwrapped text."""
        return self.start(server, version, [self.program, *arguments])

    def create_v1(self, server, prompt):
        """A v1 session. In 1.5.1 the command fails before it sends anything (it passes its own library an argument
        that its v1 half does not take), so there the release's library is called below the command."""
        if self.release == "1.1.9":
            return created(self.run(server, "v1", "sessions", "create", prompt))
        code = "import sys; from devin_cli.api import sessions; print(sessions.create_session(sys.argv[1])['session_id'])"
        return self.start(server, "v1", [self.program.with_name("python"), "-c", code, prompt]).strip()

    def start(self, server, version, command):
        token = {"v1": server.personal_key, "v3": server.service_user_token}[version]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "COLUMNS": "1000",
            "TERM": "dumb",
            "DEVIN_BASE_URL": server.url + BASES[version],
            "DEVIN_API_VERSION": version,
            "DEVIN_API_TOKEN": token,
            "DEVIN_ORG_ID": server.org_id if version == "v3" else "",
        }
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, cwd=self.home
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def file(tmp_path):
    (tmp_path / "data.csv").write_bytes(DATA)
    return tmp_path / "data.csv"


@BOTH
def test_the_release_is_the_one_named(release, tmp_path):
    done = subprocess.run([Devin(release, tmp_path).program, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith(release)


@BOTH
def test_v1_upload_and_session(server, tmp_path, file, release):
    devin = Devin(release, tmp_path)
    url = uploaded(devin.run(server, "v1", "upload", str(file)))
    assert re.fullmatch(re.escape(server.url) + r"/attachments/[0-9a-f-]{36}/data\.csv", url)

    session_id = devin.create_v1(server, f'Look at it.\nATTACHMENT:"{url}"\n')
    assert_report(server.v1(), session_id)
    assert session_id in devin.run(server, "v1", "sessions", "get", session_id)
    devin.run(server, "v1", "sessions", "message", "Thank you.", "--id", session_id)
    sent = server.v1().settled_v1(session_id)["messages"]
    assert [m["type"] for m in sent if m["message"] == "Thank you."] == ["user_message"]


@BOTH
def test_v3_upload_and_session(server, tmp_path, file, release):
    devin = Devin(release, tmp_path)
    said = devin.run(server, "v3", "upload", str(file))
    url = re.search(r"'url': '([^']+)'", said).group(1)

    options = ["--attachment-url", url] if release == "1.5.1" else []
    prompt = "Look at it." if options else f'Look at it.\nATTACHMENT:"{url}"\n'
    session_id = created(devin.run(server, "v3", "sessions", "create", prompt, *options))
    assert_report(server.v1(), session_id)
    if release == "1.5.1":
        assert "report.md" in devin.run(server, "v3", "sessions", "attachments", session_id)
    assert session_id in devin.run(server, "v3", "sessions", "get", session_id)


def test_attach_writes_a_space_and_is_told_so(server, tmp_path, file):
    said = Devin("1.1.9", tmp_path).run(server, "v1", "attach", str(file), "Look at it.")
    url, session_id = uploaded(said), created(said)

    client = server.v1()
    session = client.settled_v1(session_id)
    receipts = service.good(client.get(f"/sessions/{session_id}/receipts"))
    assert [r for r in receipts if r["source"] == "user"] == []
    first, notice, *_ = session["messages"]
    assert f'ATTACHMENT: "{url}"' in first["message"], "the line stays as it was written"
    assert notice["type"] == "devin_message"
    assert "line 3" in notice["message"]
    assert f'ATTACHMENT:"{url}"' in notice["message"], "the notice shows the line as it should be"

    answer = client.create(f'Look at it.\n\nATTACHMENT: "{url}"')
    assert [(n["line"], n["corrected"]) for n in answer["notices"]] == [(3, f'ATTACHMENT:"{url}"')]
    assert "space" in answer["notices"][0]["reason"]


def test_attach_works_where_the_operator_is_lenient(start, tmp_path, file):
    server = start(config="lenient_references = true\n")
    session_id = created(Devin("1.1.9", tmp_path).run(server, "v1", "attach", str(file), "Look at it."))
    session = assert_report(server.v1(), session_id)
    assert any("line 3" in m["message"] for m in session["messages"] if m["type"] == "devin_message")


def uploaded(said):
    return re.search(r"Uploaded: *(\S+)", said).group(1)


def created(said):
    return re.search(r"Session created: *(devin-\S+)", said).group(1)


def assert_report(client, session_id):
    """Waits for the end, downloads the report as a poller would, and checks one figure of the file."""
    session = client.settled_v1(session_id)
    receipts = service.good(client.get(f"/sessions/{session_id}/receipts"))
    delivered = [(r["state"], r["sha256"]) for r in receipts if r["source"] == "user"]
    assert delivered == [("delivered", service.sha256(DATA))]
    answers = [m["message"] for m in session["messages"] if m["type"] == "devin_message"]
    urls = [url for text in answers for url in service.attachment_urls(text)]
    assert [url.rsplit("/", 1)[1] for url in urls] == ["report.md"]
    found = report.read(client.download(urls[0]).decode())
    assert float(found.column("units")["sum"]) == 18
    return session
