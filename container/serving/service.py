"""The model as a service: its state (loading, ready, failed), and the way from a prompt to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from container.serving.generator import Answer, Generator, Job, PromptError
from container.serving.settings import ServerSettings
from training.data.prompts import Message, Question, question
from training.errors import BadInputError
from training.hardware import choose_dtype

WAITING_BATCHES = 4  # rows that may wait: this many full SQL batches, then callers are told to come again
WARM_UP = "Hello"


class ModelService:
    """Answers prompts. Ready only after the model has answered once."""

    def __init__(self, chosen: ServerSettings) -> None:
        self.settings = chosen
        self.generator = Generator(chosen.model, waiting_rows=WAITING_BATCHES * chosen.max_batch_rows)
        self.ready = False
        self.failure: Exception | None = None

    def run(self, failed: Callable[[], None]) -> None:
        """Load, answer once, then work until closed. Runs in a thread; calls `failed` when there is no answer."""
        try:
            self.generator.load(choose_dtype("auto"))
            first = self.ids(question(self.settings.prompt, WARM_UP))
            self.generator.submit([Job(first, 1, lambda result: self._warmed(result, failed))])
        except Exception as error:  # noqa: BLE001 - whatever it is, the process has to end with it
            self.failure = error
            failed()
            return
        self.generator.work()

    def close(self) -> None:
        """Stop taking rows; the worker ends after its batch."""
        self.ready = False
        self.generator.close()

    def ids(self, asked: Question) -> list[int]:
        """Token ids of a question."""
        return self.generator.tokens.question(asked)

    async def answer_rows(self, prompts: Sequence[object]) -> list[Answer | Exception | None]:
        """Answer bare prompts in order; NULL stays None, a row that cannot be answered is its exception.

        Raises BusyError when they do not fit into the queue.
        """
        loop = asyncio.get_running_loop()
        results: list[Answer | Exception | None] = [None] * len(prompts)
        futures: dict[int, asyncio.Future[Answer]] = {}
        jobs: list[Job] = []
        for i, prompt in enumerate(prompts):
            if prompt is None:
                continue
            try:
                if not isinstance(prompt, str):
                    raise PromptError(f"the prompt must be text, found {type(prompt).__name__}")
                ids = self.ids(question(self.settings.prompt, prompt))
                self.generator.check(ids, self.settings.max_new_tokens)
            except (PromptError, BadInputError) as error:
                results[i] = error
                continue
            futures[i] = loop.create_future()
            jobs.append(Job(ids, self.settings.max_new_tokens, _resolver(loop, futures[i])))
        self.generator.submit(jobs)
        try:
            answered = await asyncio.gather(*futures.values(), return_exceptions=True)
        except asyncio.CancelledError:
            for job in jobs:
                job.cancelled.set()
            raise
        for i, result in zip(futures, answered, strict=True):
            results[i] = result if isinstance(result, Answer | Exception) else RuntimeError(str(result))
        return results

    async def stream(self, messages: Sequence[Message], limit: int, temperature: float, seed: int) -> AsyncGenerator[str | Answer]:
        """Yield pieces of one answer as they come, then the whole Answer. Raises BusyError or PromptError at once."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[int | Answer | Exception] = asyncio.Queue()

        def put(event: int | Answer | Exception) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        ids = self.ids(Question(tuple(messages)))
        job = Job(ids, limit, on_done=put, on_token=put, temperature=temperature, seed=seed)
        self.generator.submit([job])
        pieces = _Pieces(self.generator)
        try:
            while True:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, Answer):
                    if rest := pieces.rest():
                        yield rest
                    yield event
                    return
                if piece := pieces.add(event):
                    yield piece
        finally:
            job.cancelled.set()  # a caller that has gone away must not keep its row in the batch

    def _warmed(self, result: Answer | Exception, failed: Callable[[], None]) -> None:
        if isinstance(result, Exception):
            self.failure = result
            self.generator.close()
            failed()
        else:
            self.ready = True


class _Pieces:
    """Text as it grows: a token may be half a character, so only what can no longer change is handed out."""

    def __init__(self, generator: Generator) -> None:
        self.decode = generator.tokens.raw.decode
        self.ids: list[int] = []
        self.sent = ""

    def add(self, token: int) -> str:
        self.ids.append(token)
        text = str(self.decode(self.ids, skip_special_tokens=True))
        return "" if text.endswith("\ufffd") else self._advance(text)

    def rest(self) -> str:
        return self._advance(str(self.decode(self.ids, skip_special_tokens=True)))

    def _advance(self, text: str) -> str:
        piece, self.sent = text[len(self.sent) :], text
        return piece


def _resolver(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Answer]) -> Callable[[Answer | Exception], None]:
    def resolve(result: Answer | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    return lambda result: _call(loop, resolve, result)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[Answer | Exception], None], result: Answer | Exception) -> None:
    if not loop.is_closed():  # a caller of a stopped server no longer waits
        loop.call_soon_threadsafe(function, result)
