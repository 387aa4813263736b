"""The handler of language models, with an engine and a tokenizer that do what the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from torchserve.core.container_limits import whole_cores
from torchserve.core.generation.engine import EngineStats, EngineStopped, Progress, Sampling, TokenLogprob
from torchserve.core.handlers import language_model
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.language_model import LanguageModel
from torchserve.core.handlers.language_model_options import LanguageModelOptions
from torchserve.core.handlers.prediction_exception import PredictionException

HI = [{"role": "user", "content": "hi"}]


class Engine:
    """Says `script`, a list of texts so far, to every request, one in each turn of the loop."""

    context_length = 40

    def __init__(self, *script: str, error: str = "", finished: Any = "stop") -> None:
        self.script = script
        self.error = error
        self.finished = finished
        self.waiting = 0
        self.stopped = False
        self.asked: dict[str, tuple[list[int], Sampling]] = {}
        self.cancelled: list[str] = []
        self._running: set[str] = set()

    def submit(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling, receive: Callable[[Progress], None]
    ) -> None:
        if self.stopped:
            raise EngineStopped("dead")
        self.asked[request_id] = (list(prompt), sampling)
        self._running.add(request_id)
        asyncio.get_running_loop().call_soon(self._say, request_id, receive, list(self.script))

    def _say(self, request_id: str, receive: Callable[[Progress], None], left: list[str]) -> None:
        if request_id not in self._running:
            return
        text = left.pop(0) if left else None
        if text is None:
            if self.error:
                receive(Progress((), error=self.error))
            return  # it never ends
        last = not left and not self.error and self.finished
        tokens = list(text.encode())
        told = [TokenLogprob(-0.5, ((token, -0.5), (0xE2, -1.5))) for token in tokens]
        receive(Progress(tokens, self.finished if last else None, logprobs=told))
        asyncio.get_running_loop().call_soon(self._say, request_id, receive, left)

    def cancel(self, request_id: str) -> None:
        if request_id in self._running:
            self._running.discard(request_id)
            self.cancelled.append(request_id)

    def stats(self) -> EngineStats:
        return EngineStats(len(self._running), self.waiting, 0.0)

    def stop(self) -> None:
        raise AssertionError


class Bytes:
    """A tokenizer whose tokens are bytes."""

    chat_template = '{% if tools %}<tool_call>{"name": …, "arguments": …}{% endif %}'

    def apply_chat_template(self, messages: Sequence[dict[str, str]], tools: Any = (), **_: Any) -> str:
        if messages[-1]["role"] == "tool":
            raise RuntimeError("no tools here")
        return f"{len(tools)};" * bool(tools) + "".join(f"{each['role'][0]}:{each['content']};" for each in messages)

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return bytes(tokens).decode(errors="replace")

    def __len__(self) -> int:
        return 256


class Call:
    """A request to the handler."""

    def __init__(self, engine: Engine, path: str = "v1/chat/completions", **options: Any) -> None:
        self.engine = engine
        self.handler = LanguageModel()
        self.handler._engine = engine
        self.handler._understand(Bytes(), 256, [-1])
        self.handler._options = LanguageModelOptions(**options)
        self.context = Context("tiny", ".", {}, 1, None, "0")
        self.context.request_ids = {0: "r"}
        self.processor = RequestProcessor({"url_path": path})
        self.context.request_processor = [self.processor]
        self.sent: list[bytes] = []
        self.context.send_partial = lambda elements, _code: self.sent.extend(elements)

    async def ask(self, body: Any) -> bytes:
        (answer,) = await self.handler.handle([{"body": body}], self.context)
        return answer

    @property
    def type(self) -> str:
        return self.processor.get_response_headers().get("content-type", "")


def events(data: bytes) -> list[Any]:
    lines = data.decode().split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


async def test_a_whole_answer() -> None:
    call = Call(Engine("he", "hello"))
    found = json.loads(await call.ask({"model": "alias", "messages": HI, "temperature": 0, "max_tokens": 9}))
    assert (found["id"], found["object"], found["model"]) == ("chatcmpl-r", "chat.completion", "alias")
    assert found["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": None}, "logprobs": None, "finish_reason": "stop"}
    ]  # fmt: skip
    assert found["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    assert call.engine.asked == {"r-0": (list(b"u:hi;"), Sampling(9, 0.0))}
    assert (call.type, call.sent, call.engine.stats().running) == ("application/json", [], 0)


async def test_a_streamed_answer() -> None:
    call = Call(Engine("he", "hello", finished="length"))
    last = await call.ask({"messages": HI, "stream": True, "stream_options": {"include_usage": True}})
    told = events(b"".join(call.sent) + last)
    assert told.pop() == "[DONE]"
    assert told.pop()["usage"]["completion_tokens"] == 5
    choices = [event["choices"][0] for event in told]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(each["delta"].get("content", "") for each in choices) == "hello"
    assert [each["finish_reason"] for each in choices] == [None] * (len(choices) - 1) + ["length"]
    assert {event["object"] for event in told} == {"chat.completion.chunk"}
    assert {event["model"] for event in told} == {"tiny"}
    assert len(call.sent) >= 2, "each piece is sent as it comes"
    assert call.type.startswith("text/event-stream")


async def test_a_stop_string_ends_the_sequence_in_the_engine() -> None:
    call = Call(Engine("one", "one. two", "one. two. three", finished=None))
    found = json.loads(await call.ask({"messages": HI, "stop": ". t"}))
    assert (found["choices"][0]["message"]["content"], found["choices"][0]["finish_reason"]) == ("one", "stop")
    assert call.engine.cancelled == ["r-0"]


async def test_several_prompts_and_sequences_in_order() -> None:
    call = Call(Engine("x"), "v1/completions")
    found = json.loads(await call.ask({"prompt": ["a", [98, 99]], "n": 2}))
    assert [(each["index"], each["text"]) for each in found["choices"]] == [(index, "x") for index in range(4)]
    assert [prompt for prompt, _ in call.engine.asked.values()] == [[97], [97], [98, 99], [98, 99]]
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert found["object"] == "text_completion"


CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "f"}}]
CALLED = {"id": "call_r-0-0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


async def test_a_call_of_a_tool() -> None:
    call = Call(
        Engine("I look.\n", f"I look.\n{CALL}"),
    )
    call.engine.context_length = 200
    (choice,) = json.loads(await call.ask({"messages": HI, "tools": TOOLS}))["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": "I look.", "refusal": None, "tool_calls": [CALLED]}
    assert call.engine.asked["r-0"][0] == list(b"1;u:hi;")

    call = Call(Engine(CALL[:20], CALL, CALL + CALL))
    last = await call.ask({"messages": HI, "tools": TOOLS, "stream": True})
    choices = [each["choices"][0] for each in events(b"".join(call.sent) + last)[:-1]]
    made = [one for each in choices for one in each["delta"].get("tool_calls", [])]
    assert made == [{"index": 0, **CALLED}, {"index": 1, **CALLED, "id": "call_r-0-1"}]
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert not any(each["delta"].get("content") for each in choices)


async def test_tools_that_may_not_be_called_are_not_told() -> None:
    call = Call(Engine(CALL))
    (choice,) = json.loads(await call.ask({"messages": HI, "tools": TOOLS, "tool_choice": "none"}))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL, "stop")
    assert call.engine.asked["r-0"][0] == list(b"u:hi;")


async def test_probabilities_of_a_chat() -> None:
    call = Call(Engine("h", "hi"))
    asked = {"messages": HI, "logprobs": True, "top_logprobs": 2}
    told = json.loads(await call.ask(asked))["choices"][0]["logprobs"]["content"]
    assert [each["token"] for each in told] == ["h", "i"]
    part = {"token": "\ufffd", "logprob": -1.5, "bytes": None}
    assert told[0]["top_logprobs"] == [{"token": "h", "logprob": -0.5, "bytes": [104]}, part]
    assert call.engine.asked["r-0"][1].logprobs == 2
    call = Call(Engine("h", "hi\xe9"))
    last = await call.ask({**asked, "stream": True})
    streamed = [each["choices"][0].get("logprobs") for each in events(b"".join(call.sent) + last)[:-1]]
    assert [one["token"] for each in streamed if each for one in each["content"]] == ["h", "i", "\ufffd", "\ufffd"]


async def test_probabilities_of_completions() -> None:
    call = Call(Engine("h", "hi"), "v1/completions")
    told = json.loads(await call.ask({"prompt": "x", "logprobs": 2}))["choices"][0]["logprobs"]
    assert told == {
        "tokens": ["h", "i"], "token_logprobs": [-0.5, -0.5], "text_offset": [0, 1],
        "top_logprobs": [{"h": -0.5, "\ufffd": -1.5}, {"i": -0.5, "\ufffd": -1.5}],
    }  # fmt: skip


async def test_each_sequence_has_its_own_seed() -> None:
    call = Call(Engine("x"))
    await call.ask({"messages": HI, "n": 2, "seed": 5})
    assert [sampling.seed for _, sampling in call.engine.asked.values()] == [5, 6]


@pytest.mark.parametrize("body", [b'{"messages": [{"role": "user", "content": "hi"}]}', '{"messages": [{"role": "user", "content": "hi"}]}'])  # fmt: skip
async def test_a_body_that_was_not_parsed(body: Any) -> None:
    assert json.loads(await Call(Engine("x")).ask(body))["choices"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("v1/chat/completions", b"{", 400, None, "not JSON"),
        ("v1/chat/completions", [], 400, None, "object"),
        ("v1/chat/completions", {"messages": HI, "max_tokens": 36}, 400, "context_length_exceeded", "40"),
        ("v1/chat/completions", {"messages": [{"role": "user", "content": "x" * 99}]}, 400, "context_length_exceeded", "40"),
        ("v1/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}, 400, None, "no tools here"),
        ("v1/completions", {"prompt": [256]}, 400, None, "256"),
        ("v1/completions", {"prompt": "x", "logit_bias": {"256": 1}}, 400, None, "256"),
        ("v1/audio/speech", {"messages": HI}, 404, None, "v1/completions"),
    ],
)  # fmt: skip
async def test_what_is_refused_never_reaches_the_engine(
    path: str, body: Any, status: int, code: str | None, words: str
) -> None:
    call = Call(Engine("x"), path)
    error = json.loads(await call.ask(body))["error"]
    assert (call.processor.get_response_status_code(), error["code"]) == (status, code)
    assert words in error["message"]
    assert call.engine.asked == {}
    assert call.type == "application/json"


async def test_too_many_that_wait_are_refused_at_once() -> None:
    call = Call(Engine("x"), max_waiting=3)
    call.engine.waiting = 3
    assert "max_waiting" in json.loads(await call.ask({"messages": HI}))["error"]["message"]
    assert call.processor.get_response_status_code() == 429
    assert call.processor.get_response_header("Retry-After") == "1"


async def test_a_client_that_leaves_ends_all_its_sequences() -> None:
    call = Call(Engine("x", finished=None))
    task = asyncio.ensure_future(call.ask({"messages": HI, "n": 3}))
    while len(call.engine.asked) < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(call.engine.cancelled) == ["r-0", "r-1", "r-2"]


async def test_an_engine_that_fails_in_the_middle() -> None:
    call = Call(Engine("x", error="out of blocks"))
    with pytest.raises(PredictionException, match="out of blocks"):
        await call.ask({"messages": HI, "n": 2, "stream": True})
    assert call.engine.stats().running == 0


async def test_a_worker_without_an_engine_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(language_model, "_end_worker", ended.append)
    call = Call(Engine("x"))
    call.engine.stopped = True
    with pytest.raises(PredictionException, match="dead"):
        await call.ask({"messages": HI})
    assert ended == ["dead"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("fast", "a table"),
        ({"memory": 3}, "memory"),
        ({"memory_tokens": 3}, "memory_tokens"),
        ({"memory_tokens": "3"}, "memory_tokens"),
        ({"max_waiting": True}, "max_waiting"),
        ({"model_path": 3}, "model_path"),
        ({"dtype": "int4"}, "dtype"),
    ],
)
def test_options_that_are_wrong_are_named(said: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LanguageModelOptions.read(said)


def test_options() -> None:
    said = {"model_path": "m", "dtype": "bfloat16", "memory_tokens": 64, "threads": 2}
    assert LanguageModelOptions.read(said) == LanguageModelOptions("m", dtype="bfloat16", memory_tokens=64, threads=2)


@pytest.mark.parametrize(
    ("said", "environment", "now", "most"),
    [
        (1, {"OMP_NUM_THREADS": "3", "TS_WORKER_CORES": "4"}, 1, None),
        (0, {"OMP_NUM_THREADS": "3", "TS_WORKER_CORES": "4"}, 4, 4),
        (0, {"OMP_NUM_THREADS": "3"}, 2, None),
        (0, {}, whole_cores(), whole_cores()),
    ],
    ids=["the yaml says it", "a share of the cores", "the environment says it", "no worker"],
)
def test_threads_are_adapted_to_each_step_unless_they_are_said(
    said: int, environment: dict[str, str], now: int, most: int | None
) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        adapted = language_model.threads_of(LanguageModelOptions(threads=said), environment)
        assert (adapted and adapted.most) == most
        assert torch.get_num_threads() == now
    finally:
        torch.set_num_threads(before)
