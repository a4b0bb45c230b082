"""A language model with a script: enough of the Responses API for a real agent to do one small job.

The first answer is a tool call that reads `attachments/data.csv`, the second one a tool call that writes
`output/summary.md`, the third a text that says `saw_csv=True` only if the tool's result really held the rows.
It listens on the loopback alone and keeps every request, so that a test can look at what the agent sent.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

READ = "cat attachments/data.csv"
WRITE = "printf 'summary of data.csv\\n' > output/summary.md && cat output/summary.md"


class ScriptedModel:
    """Serves the script at `url` while used as a context manager. `rows` is what the tool must have shown."""

    def __init__(self, rows):
        self.rows = rows
        self.requests = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        """The next output item: it depends only on the results that the request already carries."""
        tool = shell_tool(request)
        results = [tool_text(item) for item in request.get("input", []) if item.get("type", "").endswith("call_output")]
        if tool is None:
            return message("a title")
        if not results:
            return call("call_read", tool, READ)
        if len(results) == 1:
            return call("call_write", tool, WRITE)
        saw = all(row in results[0] for row in self.rows)
        return message(f"I read the file and wrote output/summary.md. saw_csv={saw}")

    def _handler(model):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.requests.append(request)
                events = stream(model.answer(request), len(model.requests))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Content-Length", str(len(events)))
                self.end_headers()
                self.wfile.write(events)

            def do_GET(self):
                self.send_error(404)

            def log_message(self, *_):
                pass

        return Handler


def shell_tool(request):
    """The tool that the agent offers for running a command, with the name of its argument; None without one."""
    for tool in request.get("tools") or []:
        arguments = tool.get("parameters", {}).get("properties", {})
        for argument in ("cmd", "command"):
            if tool.get("type") == "function" and argument in arguments:
                return tool["name"], argument, arguments[argument].get("type")
    return None


def tool_text(item):
    output = item.get("output")
    return output if isinstance(output, str) else json.dumps(output)


def call(call_id, tool, command):
    name, argument, kind = tool
    value = ["bash", "-lc", command] if kind == "array" else command
    return {
        "type": "function_call",
        "id": f"fc_{call_id}",
        "call_id": call_id,
        "name": name,
        "arguments": json.dumps({argument: value}),
    }


def message(text):
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def stream(item, number):
    """One whole answer as server-sent events."""
    response = {"id": f"resp_{number}", "object": "response", "status": "in_progress", "output": []}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    events = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response | {"status": "completed", "output": [item], "usage": usage}},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
