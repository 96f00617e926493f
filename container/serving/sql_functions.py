"""Snowflake's batch format: `POST {"data": [[0, "prompt"], …]}` → `{"data": [[0, value], …]}`, same rows, same order.

`/predict` answers with text, or null for a row that failed; `/predict_detail` with an object that says why. The status
of the whole batch tells Snowflake what to do: 429 and 503 mean 'send the same batch again later', 400 that it is wrong.
Decoding is greedy, so a batch that is sent twice gets the same answers twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from container.serving.generator import Answer, BusyError
from container.serving.service import ModelService

RETRY_AFTER_SECONDS = "2"

Result = Answer | Exception | None


class BatchError(Exception):
    """The request is wrong as a whole."""


def parse(body: bytes, max_rows: int) -> list[tuple[int, object]]:
    """The rows of a batch as (row number, prompt). Raises BatchError."""
    try:
        rows = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BatchError('the body must be JSON of the form {"data": [[0, "prompt"], …]}') from error
    if not isinstance(rows, list):
        raise BatchError("data must be a list of rows")
    if len(rows) > max_rows:
        raise BatchError(f"{len(rows)} rows in one batch; the function's MAX_BATCH_ROWS should be at most {max_rows}")
    parsed: list[tuple[int, object]] = []
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], int) or isinstance(row[0], bool):
            raise BatchError(f"row {place} must be [row number, prompt]")
        parsed.append((row[0], row[1]))
    return parsed


def text_value(result: Result) -> str | None:
    """The value of `<name>(prompt)`: the answer, or NULL for a row without one."""
    return result.text if isinstance(result, Answer) else None


def detail_value(result: Result, version: str) -> dict[str, Any] | None:
    """The value of `<name>_detail(prompt)`; NULL only for a NULL prompt."""
    if result is None:
        return None
    if isinstance(result, Answer):
        return {"answer": result.text, "error": None, "model_version": version, "tokens": result.tokens}
    return {"answer": None, "error": str(result) or type(result).__name__, "model_version": version, "tokens": 0}


def routes(service: ModelService) -> list[Route]:
    """The two batch endpoints."""
    version = service.settings.version
    return [
        Route("/predict", _endpoint(service, text_value), methods=["POST"]),
        Route("/predict_detail", _endpoint(service, lambda result: detail_value(result, version)), methods=["POST"]),
    ]


def _endpoint(service: ModelService, value: Callable[[Result], Any]) -> Any:
    async def endpoint(request: Request) -> Response:
        if not service.ready:
            return _later(503, "the model is loading")
        try:
            rows = parse(await request.body(), service.settings.max_batch_rows)
            results = await service.answer_rows([prompt for _, prompt in rows])
        except BatchError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except BusyError as error:
            return _later(429, str(error))
        pairs = zip(rows, results, strict=True)
        return JSONResponse({"data": [[number, value(result)] for (number, _), result in pairs]})

    return endpoint


def _later(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers={"Retry-After": RETRY_AFTER_SECONDS})
