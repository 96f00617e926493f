"""The part of OpenAI's HTTP interface that chat clients need: `/v1/chat/completions`, with streaming, and `/v1/models`.

What is not supported (several choices, tools, nucleus sampling) is refused, not ignored.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from container.serving.generator import Answer, BusyError, PromptError
from container.serving.service import ModelService
from training.data.prompts import Message


class ChatMessage(BaseModel):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """The fields of a request that have a meaning here; without a temperature answers are greedy."""

    model_config = ConfigDict(extra="ignore")

    messages: list[ChatMessage] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stream: bool = False
    n: Literal[1] = 1
    top_p: Literal[1] = 1
    tools: None = None
    stop: None = None


def routes(service: ModelService) -> list[Route]:
    """The OpenAI-compatible endpoints."""
    started = int(time.time())

    async def models(request: Request) -> Response:
        card = {"id": service.settings.name, "object": "model", "created": started, "owned_by": "snowcat"}
        return JSONResponse({"object": "list", "data": [card]})

    async def chat(request: Request) -> Response:
        if not service.ready:
            return _error(503, "the model is loading", "unavailable")
        try:
            asked = ChatRequest.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "body"
            return _error(400, f"{place}: {first['msg']}", "invalid_request_error")
        if asked.model not in (None, service.settings.name):
            return _error(404, f"no model {asked.model!r}; this is {service.settings.name!r}", "model_not_found")
        return await _completion(service, asked)

    return [Route("/v1/models", models), Route("/v1/chat/completions", chat, methods=["POST"])]


async def _completion(service: ModelService, asked: ChatRequest) -> Response:
    limit = asked.max_completion_tokens or asked.max_tokens or service.settings.max_new_tokens
    messages = [Message(message.role, message.content) for message in asked.messages]
    seed = secrets.randbits(62) if asked.seed is None else asked.seed
    events = service.stream(messages, limit, asked.temperature, seed)
    try:
        first = await anext(events)  # a full queue or a prompt that is too long shows before the headers are sent
        if asked.stream:
            return StreamingResponse(_server_events(service, first, events), media_type="text/event-stream")
        answer = first
        async for event in events:
            answer = event
    except BusyError as error:
        return _error(429, str(error), "rate_limit_exceeded")
    except PromptError as error:
        return _error(400, str(error), "invalid_request_error")
    assert isinstance(answer, Answer)
    return JSONResponse(
        {
            **_head(service, "chat.completion"),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer.text},
                    "finish_reason": answer.finished,
                }
            ],
            "usage": {
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.tokens,
                "total_tokens": answer.prompt_tokens + answer.tokens,
            },
        }
    )


async def _server_events(service: ModelService, first: str | Answer, rest: AsyncGenerator[str | Answer]) -> AsyncIterator[bytes]:
    head = _head(service, "chat.completion.chunk")
    yield _chunk(head, {"role": "assistant", "content": ""}, None)
    event: str | Answer | None = first
    try:
        async with aclosing(rest):  # also when the client goes away: its row then leaves the batch
            while event is not None:
                if isinstance(event, Answer):
                    yield _chunk(head, {}, event.finished)
                else:
                    yield _chunk(head, {"content": event}, None)
                event = await anext(rest, None)
    except Exception as error:  # noqa: BLE001 - the headers are out: the stream itself has to tell
        yield _data({"error": {"message": str(error), "type": "server_error"}})
    yield b"data: [DONE]\n\n"


def _head(service: ModelService, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": service.settings.name,
    }


def _chunk(head: dict[str, Any], delta: dict[str, str], finished: str | None) -> bytes:
    return _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finished}]})


def _data(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


def _error(status: int, message: str, kind: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind}}, status_code=status)
