"""The seam is real: a profile names a foreign program, which does its job and cannot get out.

In each isolation: the digest that it prints is right, every attack of `foreign_agent.py` fails, a link in the
place of `output/` brings nothing of the service back, and no process of a turn is left.
"""

import json
import shutil
import uuid
from pathlib import Path

import pytest

import service

DATA = b"day,units\n2026-01-01,3\n"
ISOLATIONS = pytest.mark.parametrize("isolation", ["bubblewrap", "landlock"])


def profile(folder, isolation):
    """A configuration whose default agent is the foreign program, put into `folder`."""
    shutil.copy(Path(__file__).with_name("foreign_agent.py"), folder / "agent.py")
    return f"""
isolation = "{isolation}"
default_agent = "python"

[agents.python]
program = "/usr/bin/python3"
args = ["{folder}/agent.py"]
prompt = "stdin"
turn_timeout_seconds = 60
read_paths = ["{folder}"]
network = "none"
"""


@pytest.fixture
def agent_folder(tmp_path):
    folder = tmp_path / "agent"
    folder.mkdir()
    return folder


@ISOLATIONS
def test_every_attack_fails_and_the_digest_is_right(start, agent_folder, isolation):
    canary = f"canary-{uuid.uuid4()}"
    server = start(profile(agent_folder, isolation), environment={"CANARY_SECRET": canary})
    client = server.v1()
    other = run(client, {"canary": canary, "pid": server.pid, "read": [], "write": []})
    assert_digest(other)

    targets = [str(p) for p in [server.data, *sessions_of(server), "/usr", agent_folder]]
    session = run(
        client,
        {
            "canary": canary,
            "pid": server.pid,
            "read": secrets_of(server) + [f"/proc/{server.pid}/environ", f"/proc/{server.pid}/root/etc/passwd"],
            "write": targets,
        },
    )
    assert_digest(session)
    attempts = attempts_of(client, session)
    assert len(attempts) > 20, "the data folder and the other session were among the targets"
    assert {name: how for name, how in attempts.items() if how[0] != "no"} == {}
    assert [target for target in targets if (Path(target) / "planted").exists()] == []
    receipts = service.good(client.get(f"/sessions/{session['session_id']}/receipts"))
    [delivered] = [r for r in receipts if r["source"] == "user"]
    assert client.download(delivered["url"]) == DATA


@ISOLATIONS
def test_a_link_in_the_place_of_output_brings_nothing_back(start, agent_folder, isolation):
    server = start(profile(agent_folder, isolation))
    client = server.v1()
    session = run(client, {"swap_output_for": str(server.data)})
    assert_digest(session)
    assert urls_of(session) == []
    said = [m["message"] for m in session["messages"] if m["type"] == "devin_message"]
    assert any("output" in text for text in said), f"nothing says that the output was left out: {said}"


@ISOLATIONS
def test_no_process_of_a_turn_is_left(start, agent_folder, isolation):
    server = start(profile(agent_folder, isolation))
    client = server.v1()
    marker = f"marker-{uuid.uuid4()}"
    session = run(client, {"leave_children": marker, "canary": marker, "pid": server.pid, "read": [], "write": []})
    assert_digest(session)
    service.until(lambda: not processes_with(marker), 15, "the end of every process of the turn")


def run(client, plan):
    """Uploads the file, starts a session whose prompt holds the plan, and waits for the end of its turn."""
    url = client.upload("data.csv", DATA)
    created = client.create(f'Say its digest.\nATTACHMENT:"{url}"\n{json.dumps(plan)}')
    session = client.settled_v1(created["session_id"], seconds=90)
    assert session["status_enum"] == "blocked"
    return session


def assert_digest(session):
    said = "\n".join(m["message"] for m in session["messages"] if m["type"] == "devin_message")
    assert f"sha256={service.sha256(DATA)}" in said, said


def urls_of(session):
    said = [m["message"] for m in session["messages"] if m["type"] == "devin_message"]
    return [url for text in said for url in service.attachment_urls(text)]


def attempts_of(client, session):
    [url] = [url for url in urls_of(session) if url.endswith("attempts.json")]
    return json.loads(client.download(url))


def secrets_of(server):
    """What only the service may read: every file and folder of its data, the database and other sessions among them."""
    own = list(server.data.rglob("*"))
    assert any(p.is_file() and p.read_bytes()[:15] == b"SQLite format 3" for p in own), "the database is a target"
    return [str(p) for p in [server.data, *own]]


def sessions_of(server):
    found = [p for p in (server.data / "sessions").iterdir() if p.is_dir()]
    assert found, "the other session's folder is a target"
    return found


def processes_with(marker):
    """The processes whose command line holds the marker, wherever they run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
