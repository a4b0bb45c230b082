"""Real agents over the Agent Client Protocol, with the profiles of docs/agents.md and a scripted model.

The model says `saw_csv=True` only when the result of the agent's own tool really held the rows. Every request to it is
kept, so that these tests also say how much of a file an agent sends to its model.
"""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

import profiles
import service
from scripted_model import ScriptedModel

pytestmark = pytest.mark.agents

AGENTS = ["codex", "opencode", "claude", "gemini", "goose"]
# Those that do not find their conversation again after a kill, and are told of it.
FORGETFUL = ["gemini"]
# Those that are killed in every way.
KILLED = ["codex", "opencode"]
# gemini runs commands on a pseudo-terminal, which Landlock does not let it open.
TOGETHER = [(agent, isolation) for agent in AGENTS for isolation in ("none", "bubblewrap", "landlock")]
TOGETHER.remove(("gemini", "landlock"))
TOGETHER.append(("codex", "prefix"))
ROWS = {"data.csv": ["2026-01-01,3", "2026-01-02,5"], "more.csv": ["2026-02-01,8", "2026-02-02,13"]}
LARGE = 30_000_000
# What an agent may send to its model at once, whatever the file: its own instructions are up to 100 kB.
MODEL_REQUEST_BYTES = 1_000_000


@pytest.fixture
def model():
    with ScriptedModel(ROWS) as scripted:
        yield scripted


@pytest.mark.parametrize(("agent", "isolation"), TOGETHER)
def test_an_agent_reads_the_file_hands_back_its_own_and_goes_on(start, model, agent, isolation):
    server = begin(start, model, agent, isolation)
    client = server.v3()
    session_id = create(client, table("data.csv"))
    settled(client, session_id, turns=1)
    assert summaries(client, session_id) == [b"summary of data.csv\n"]
    assert max(one.results for one in model.requests) == 2, "the first tool that was tried showed the rows"
    kinds = [kind for kind, _ in events(client, session_id)]
    assert "tool_call" in kinds, kinds
    assert kinds.count("tool_call") + kinds.count("tool_call_update") >= 2, kinds

    processes = processes_of_agents(server.pid)
    assert processes, "the agent waits for the next message"
    assert_goes_on(server, model, session_id, remembers=True)
    assert processes <= processes_of_agents(server.pid), "the second turn is done by the same process"

    told = told_to(model, 0)
    assert "[Attached file: attachments/data.csv (text/csv" in told
    assert "ATTACHMENT:" not in told, "the agent gets a path, not the URL of the service"
    assert "only-for-" not in server.log.read_text(errors="replace")


@pytest.mark.parametrize("agent", AGENTS)
def test_a_large_file_does_not_enter_the_models_context(start, model, agent):
    server = begin(start, model, agent, "bubblewrap")
    client = server.v3()
    content = table("data.csv", LARGE)
    session_id = create(client, content)
    settled(client, session_id, turns=1)
    receipts = service.good(client.get(f"/sessions/{session_id}/receipts"))
    delivered = [(r["state"], r["sha256"]) for r in receipts if r["source"] == "user"]
    assert delivered == [("delivered", service.sha256(content))]
    assert max(one.size for one in model.requests) < MODEL_REQUEST_BYTES


@pytest.mark.parametrize("agent", AGENTS)
def test_a_conversation_goes_on_after_the_service_was_killed(start, model, agent):
    server = begin(start, model, agent, "bubblewrap")
    session_id = create(server.v3(), table("data.csv"))
    settled(server.v3(), session_id, turns=1)
    server.kill()
    server = begin(start, model, agent, "bubblewrap", data=server.data)
    assert_goes_on(server, model, session_id, remembers=agent not in FORGETFUL)


@pytest.mark.parametrize("agent", KILLED)
def test_a_conversation_goes_on_after_its_agent_was_killed(start, model, agent):
    server = begin(start, model, agent, "bubblewrap")
    session_id = create(server.v3(), table("data.csv"))
    settled(server.v3(), session_id, turns=1)
    processes = processes_of_agents(server.pid)
    assert processes, "the agent waits for the next message"
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert_goes_on(server, model, session_id, remembers=agent not in FORGETFUL)


@pytest.mark.parametrize("agent", KILLED)
def test_a_turn_that_was_cut_by_a_kill_is_done_again_and_handed_back_once(start, model, agent):
    server = begin(start, model, agent, "bubblewrap")
    model.go_on.clear()
    session_id = create(server.v3(), table("data.csv"))
    assert model.waiting.wait(60), "the agent came to the end of the script"
    server.kill()
    cut = len(model.requests)
    model.go_on.set()
    server = begin(start, model, agent, "bubblewrap", data=server.data)
    settled(server.v3(), session_id, turns=1)
    assert summaries(server.v3(), session_id) == [b"summary of data.csv\n"]
    assert "interrupted" in told_to(model, cut)


def assert_goes_on(server, model, session_id, remembers):
    """A second turn, with the results of the first in its conversation, or told of it by the transcript."""
    before = len(model.requests)
    send(server.v3(), session_id, "more.csv", table("more.csv"))
    settled(server.v3(), session_id, turns=2)
    assert summaries(server.v3(), session_id) == [b"summary of data.csv\n", b"summary of more.csv\n"]
    told = told_to(model, before)
    assert "Summarise the file." in told
    assert ("The conversation so far" in told) != remembers, told
    # Two are of this turn. An agent writes its conversation down beside the turn, so a kill right behind the turn's end
    # can cost its last step; what it kept is in the requests.
    assert (model.requests[-1].results > 2) == remembers, model.requests[-1].said


def begin(start, model, agent, isolation, data=None):
    config = profiles.configuration(agent, model.origin, isolation)
    return start(config, data=data, environment=profiles.secrets(agent))


def table(name, size=0):
    """A file with the rows that the model looks for, made up to `size` bytes with others."""
    rows = "day,units\n" + "\n".join(ROWS[name]) + "\n"
    filler = "2026-03-01,1\n"
    return (rows + filler * ((size - len(rows)) // len(filler))).encode()


def create(client, content):
    url = client.upload("data.csv", content)["url"]
    return client.create(f'Summarise the file.\nATTACHMENT:"{url}"\n')["session_id"]


def send(client, session_id, name, content):
    url = client.upload(name, content)["url"]
    message = {"message": f'And this one.\nATTACHMENT:"{url}"\n'}
    service.good(client.post(f"/sessions/{session_id}/messages", json=message))


def settled(client, session_id, turns, seconds=120):
    """Waits until so many turns have ended with a word on the rows, each of which must be that they were seen."""

    def over():
        said = answers(client, session_id)
        session = service.good(client.get(f"/sessions/{session_id}"))
        assert session["status"] not in ("exit", "error", "suspended"), (session, said)
        return said.count("saw_csv=") >= turns and session["status_detail"] == "waiting_for_user"

    try:
        service.until(over, seconds, f"turn {turns} of {session_id}", pause=0.2)
    finally:
        said = answers(client, session_id)
        assert said.count("saw_csv=True") == turns and "saw_csv=False" not in said, said


def told_to(model, first):
    """What users said in the requests to the model, from the request `first` on."""
    return "\n".join(said.text for one in model.requests[first:] for said in one.said if said.role == "user")


def answers(client, session_id):
    page = service.good(client.get(f"/sessions/{session_id}/messages", params={"first": 100}))
    return "\n".join(one["message"] for one in page["items"] if one["source"] == "devin")


def summaries(client, session_id):
    """What came back, oldest first."""
    listed = service.good(client.get(f"/sessions/{session_id}/attachments"))
    back = [one for one in listed if one["source"] == "devin"]
    assert {one["name"] for one in back} <= {"summary.md"}, back
    return [client.download(one["url"]) for one in back]


def events(client, session_id):
    """What the stream tells of the session so far: kind and data of each event."""
    found, kind = [], None
    with client.get(f"/sessions/{session_id}/events", params={"until": "idle"}, stream=True) as stream:
        for line in stream.iter_lines(decode_unicode=True):
            if line.startswith("event:"):
                kind = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                found.append((kind, json.loads(line.removeprefix("data:"))))
    return found


def processes_of_agents(pid):
    """The processes below the service whose command line names a program that npm installed."""
    found = set()
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        for number in child.read_text().split():
            if "node_modules/.bin/" in Path(f"/proc/{number}/cmdline").read_text():
                found.add(int(number))
            found |= processes_of_agents(number)
    return found
