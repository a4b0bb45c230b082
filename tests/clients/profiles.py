"""The agent profiles of docs/agents.md as an operator copies them: only the folder and the models' host are replaced.

So a profile in the documentation that does not work fails a test.
"""

import re

import service

DOCUMENT = service.ROOT / "docs/agents.md"
FOLDER = "/opt/agents"


def configuration(agent, origin, isolation):
    """A configuration whose only agent is that of the document, with its models at `origin`.

    `isolation` is one of the service's, or "prefix": the document's own prefix in its place.
    """
    text, found = re.subn(r"https://[a-z.]+", origin, profile(agent))
    assert found == 1, f"the profile of {agent} names one host of models"
    if isolation == "prefix":
        text = re.sub(r"^(read_paths|network) = .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("\n", "\n" + block('prefix = [\n  "bwrap"'), 1)
        isolation = "bubblewrap"
    return f'isolation = "{isolation}"\n\n{text.replace(FOLDER, str(service.TOOLS / "node"))}'


def secrets(agent):
    """The variables that the profile takes over from the service's environment, with made-up values."""
    [names] = re.findall(r"^pass_env = \[(.*)\]$", profile(agent), re.MULTILINE)
    return {name.strip('" '): f"only-for-{agent}" for name in names.split(",")}


def profile(agent):
    """The one block of TOML in the document that is the whole profile of this agent."""
    return block(f"[agents.{agent}]\n")


def block(beginning):
    """The one block of TOML in the document that begins so."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if text.startswith(beginning)]
    return found
