"""A language model with a script, for real agents to do one small job with their own tools.

To a prompt that names a delivered file it answers three times: a tool call that reads the file, a tool call that
writes `output/summary.md`, and a text that says `saw_csv=True` only if a tool's result really held the rows. A file of which
the agent's tool does not show the beginning, as some do with large ones, is looked at once more with `head`. Which
tools there are, it finds among those that the agent offers. It speaks the four dialects of `dialects.py`, listens on the
loopback alone and keeps every request with its size, so that a test can look at what the agent sent.
"""

import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dialects
from dialects import Call, Text

FILE = re.compile(r"\[Attached file: attachments/(.+?) \(")
READERS = {"path", "filePath", "file_path"}
SHELLS = ("cmd", "command")


@dataclass
class Seen:
    """One request to the model: its size in bytes, and what was said in it."""

    size: int
    body: dict
    said: list

    @property
    def results(self):
        """How many results of tools it carries, those of earlier turns included."""
        return sum(said.role == "result" for said in self.said)


class ScriptedModel:
    """Serves the script at `origin` while used as a context manager. `rows`: what each file is to have shown, by name.

    While `go_on` is not set, every last answer of a turn waits; `waiting` is set as soon as one does.
    """

    def __init__(self, rows):
        self.rows = rows
        self.requests = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.waiting = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.origin}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, said, tools):
        """The next step: it depends only on the results that came since a prompt named a file."""
        reader, shell = reading_tool(tools), shell_tool(tools)
        if shell is None:
            return Text("a title")
        prompts = [number for number, one in enumerate(said) if one.role == "user" and FILE.search(one.text)]
        if not prompts:
            return Text("no file was named")
        name = FILE.findall(said[prompts[-1]].text)[-1]
        results = [one.text for one in said[prompts[-1] :] if one.role == "result"]
        shown = [all(row in result for row in self.rows[name]) for result in results]
        if not results:
            return read_call(reader, shell, name)
        if shown == [False]:
            return shell_call(shell, f"head -n 5 'attachments/{name}'")
        if len(results) == (1 if shown[0] else 2):
            return shell_call(shell, f"printf 'summary of {name}\\n' > output/summary.md && cat output/summary.md")
        self.waiting.set()
        self.go_on.wait()
        saw = any(shown)
        return Text(f"I read {name} and wrote output/summary.md. saw_csv={saw}")

    def _handler(model):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                dialect = dialects.of(self.path)
                if dialect is None:
                    return self.send_error(404)
                seen = Seen(len(content), *dialect.read(content))
                model.requests.append(seen)
                step = model.answer(seen.said, list(dialect.tools(seen.body)))
                kind, answer = dialect.write(step, seen.body, len(model.requests))
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self):
                self.send_error(404)

            def do_HEAD(self):
                self.send_error(404)

            def log_message(self, *_):
                pass

        return Handler


def reading_tool(tools):
    """The tool that the agent offers for reading a file, with the name of its argument; None without one."""
    for name, arguments in tools:
        if name.lower() in ("read", "read_file"):
            for argument in READERS & set(arguments):
                return name, argument
    return None


def shell_tool(tools):
    """The tool that the agent offers for running a command, with its arguments; None without one."""
    for name, arguments in tools:
        for argument in SHELLS:
            if argument in arguments:
                return name, argument, arguments
    return None


def read_call(reader, shell, name):
    if reader is None:
        return shell_call(shell, f"cat 'attachments/{name}'")
    tool, argument = reader
    return Call(tool, {argument: f"attachments/{name}"})


def shell_call(shell, command):
    tool, argument, arguments = shell
    value = ["bash", "-lc", command] if arguments[argument].get("type") == "array" else command
    described = {"description": "One step of the script"} if "description" in arguments else {}
    return Call(tool, {argument: value} | described)
