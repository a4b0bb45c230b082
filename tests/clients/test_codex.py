"""`codex exec`, the real one, as a command profile against a scripted model on the loopback.

The model says `saw_csv=True` only when the tool's result really held the rows, so the file was there for codex,
inside the sandbox, under the path that the prompt names.
"""

import os
import shutil
from pathlib import Path

import pytest

import service
from scripted_model import ScriptedModel

ROWS = {"data.csv": ["2026-01-01,3", "2026-01-02,5"]}


def profile(model_url, isolation):
    """codex on the scripted model. Its own sandbox is off, for the service contains it; its home is the session's."""
    launcher = (service.TOOLS / "node/node_modules/.bin/codex").resolve()
    node = Path(shutil.which("node", path=os.environ["PATH"])).resolve()
    settings = {
        "model": '"scripted"',
        "model_provider": '"rig"',
        "approval_policy": '"never"',
        "sandbox_mode": '"danger-full-access"',
        "check_for_update_on_startup": "false",
        "model_providers.rig": f'{{name="rig",base_url="{model_url}",wire_api="responses",env_key="RIG_API_KEY",'
        "request_max_retries=0,stream_max_retries=0}",
    }
    arguments = [str(launcher), "exec", "--skip-git-repo-check"]
    for name, value in settings.items():
        arguments += ["-c", f"{name}={value}"]
    quoted = ", ".join(f"'''{argument}'''" for argument in [*arguments, "-"])
    return f"""
isolation = "{isolation}"
default_agent = "codex"

[agents.codex]
program = "{node}"
args = [{quoted}]
prompt = "stdin"
turn_timeout_seconds = 90
read_paths = ["{service.TOOLS / 'node'}"]
pass_env = ["RIG_API_KEY"]
network = "host"
"""


@pytest.mark.parametrize("isolation", ["bubblewrap", "landlock"])
def test_codex_reads_the_file_and_hands_back_its_summary(start, isolation):
    content = ("day,units\n" + "\n".join(ROWS["data.csv"]) + "\n").encode()
    with ScriptedModel(ROWS) as model:
        server = start(profile(model.url, isolation), environment={"RIG_API_KEY": "only-for-the-rig"})
        client = server.v1()
        url = client.upload("data.csv", content)
        created = client.create(f'Summarise the file.\nATTACHMENT:"{url}"\n')
        session = client.settled_v1(created["session_id"], seconds=120)

        said = [m["message"] for m in session["messages"] if m["type"] == "devin_message"]
        assert any("saw_csv=True" in text for text in said), said
        [summary] = [u for text in said for u in service.attachment_urls(text)]
        assert summary.endswith("/summary.md")
        assert client.download(summary) == b"summary of data.csv\n"

        prompt = "\n".join(said.text for said in model.requests[0].said)
        assert "[Attached file: attachments/data.csv (text/csv" in prompt
        assert "ATTACHMENT:" not in prompt, "the agent gets a path, not the URL of the service"
        assert "only-for-the-rig" not in server.log.read_text(errors="replace")
