"""The four dialects in which agents talk to models, each as far as a script needs it.

| dialect | path | agents |
| --- | --- | --- |
| Responses (OpenAI) | `/responses` | codex |
| Chat Completions (OpenAI and many hosts) | `/chat/completions` | opencode, goose |
| Messages (Anthropic) | `/messages` | claude |
| generateContent (Google) | `:streamGenerateContent`, `:generateContent` | gemini |

Each dialect reads a request into what was said and which tools there are, and writes one answer as the server-sent
events that the agent expects.
"""

import json
from dataclasses import dataclass

EVENTS = "text/event-stream"
JSON = "application/json"


@dataclass
class Said:
    """`user`: a piece of a user's message; `result`: what a tool gave."""

    role: str
    text: str


@dataclass
class Text:
    """The answer is a text."""

    text: str


@dataclass
class Call:
    """The answer is a call of a tool."""

    tool: str
    arguments: dict


def of(path):
    """The dialect of a request's path; None for a path that no dialect has."""
    path = path.split("?")[0]
    known = {"/responses": Responses, "/chat/completions": Chat, "/messages": Messages}
    known |= {":streamGenerateContent": Gemini, ":generateContent": GeminiWhole}
    return next((dialect for end, dialect in known.items() if path.endswith(end)), None)


class Dialect:
    @classmethod
    def read(cls, content):
        """The request as JSON, and what was said in it, oldest first."""
        body = json.loads(content)
        return body, list(cls.said(body))


class Responses(Dialect):
    @staticmethod
    def said(body):
        for item in body.get("input", []):
            if item.get("type", "").endswith("call_output"):
                yield Said("result", flat(item.get("output")))
            elif item.get("role") == "user":
                yield from (Said("user", part.get("text", "")) for part in item["content"])

    @staticmethod
    def tools(body):
        for tool in body.get("tools") or []:
            if tool.get("type") == "function":
                yield tool["name"], tool.get("parameters", {}).get("properties", {})

    @staticmethod
    def write(step, body, number):
        if isinstance(step, Text):
            content = [{"type": "output_text", "text": step.text, "annotations": []}]
            item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content}
        else:
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": step.tool}
            item["arguments"] = json.dumps(step.arguments)
        response = {"id": f"resp_{number}", "object": "response", "status": "in_progress", "output": []}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        done = response | {"status": "completed", "output": [item], "usage": usage}
        return EVENTS, named_events(
            {"type": "response.created", "response": response},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": done},
        )


class Chat(Dialect):
    @staticmethod
    def said(body):
        for message in body["messages"]:
            if message["role"] == "tool":
                yield Said("result", flat(message["content"]))
            elif message["role"] == "user":
                yield Said("user", flat(message["content"]))

    @staticmethod
    def tools(body):
        for tool in body.get("tools") or []:
            function = tool["function"]
            yield function["name"], function.get("parameters", {}).get("properties", {})

    @staticmethod
    def write(step, body, number):
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        whole = {"id": f"chatcmpl-{number}", "created": 1, "model": body.get("model", "scripted")}
        if isinstance(step, Text):
            reason, message = "stop", {"content": step.text}
        else:
            function = {"name": step.tool, "arguments": json.dumps(step.arguments)}
            call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
            reason, message = "tool_calls", {"tool_calls": [call]}
        message = {"role": "assistant"} | message
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            whole |= {"object": "chat.completion", "choices": [choice], "usage": usage}
            return JSON, json.dumps(whole).encode()
        whole["object"] = "chat.completion.chunk"
        last = {"index": 0, "delta": {}, "finish_reason": reason}
        return EVENTS, events(
            whole | {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            whole | {"choices": [last], "usage": usage},
            end=b"data: [DONE]\n\n",
        )


class Messages(Dialect):
    @staticmethod
    def said(body):
        for message in body["messages"]:
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            for block in blocks if message["role"] == "user" else []:
                if block["type"] == "tool_result":
                    yield Said("result", flat(block.get("content")))
                elif block["type"] == "text":
                    yield Said("user", block["text"])

    @staticmethod
    def tools(body):
        for tool in body.get("tools") or []:
            yield tool["name"], tool.get("input_schema", {}).get("properties", {})

    @staticmethod
    def write(step, body, number):
        if isinstance(step, Text):
            reason, block, whole = "end_turn", {"type": "text", "text": ""}, {"type": "text", "text": step.text}
            delta = {"type": "text_delta", "text": step.text}
        else:
            block = {"type": "tool_use", "id": f"toolu_{number}", "name": step.tool, "input": {}}
            reason, whole = "tool_use", block | {"input": step.arguments}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(step.arguments)}
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": body.get("model")}
        message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        if not body.get("stream"):
            return JSON, json.dumps(message | {"content": [whole], "stop_reason": reason}).encode()
        stop = {"stop_reason": reason, "stop_sequence": None}
        return EVENTS, named_events(
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        )


class Gemini(Dialect):
    @staticmethod
    def said(body):
        for content in body["contents"]:
            for part in content["parts"] if content.get("role", "user") != "model" else []:
                if "functionResponse" in part:
                    yield Said("result", flat(part["functionResponse"].get("response")))
                elif "text" in part:
                    yield Said("user", part["text"])

    @staticmethod
    def tools(body):
        for group in body.get("tools") or []:
            for tool in group.get("functionDeclarations", []):
                schema = tool.get("parametersJsonSchema") or tool.get("parameters") or {}
                yield tool["name"], schema.get("properties", {})

    @classmethod
    def write(cls, step, body, number):
        return EVENTS, events(cls.whole(step))

    @staticmethod
    def whole(step):
        if isinstance(step, Text):
            part = {"text": step.text}
        else:
            part = {"functionCall": {"name": step.tool, "args": step.arguments}}
        candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        return {"candidates": [candidate], "usageMetadata": usage}


class GeminiWhole(Gemini):
    @classmethod
    def write(cls, step, body, number):
        return JSON, json.dumps(cls.whole(step)).encode()


def flat(content):
    """A content as one text: the text itself, the texts of a list's parts, or whatever it is as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part, dict) and "text" in part)
    return json.dumps(content)


def events(*data, end=b""):
    return "".join(f"data: {json.dumps(one)}\n\n" for one in data).encode() + end


def named_events(*data):
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in data).encode()
