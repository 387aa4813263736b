"""transformers' continuous batching as the engine uses it: fails when a new release behaves otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.generation.engine import EngineStats, EngineStopped, Progress, Sampling

from .tiny_model import CONTEXT, END, save_tiny_model

pytest.importorskip("transformers")

SOON = 120.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    from torchserve.core.generation.hf_model import load_model
    from torchserve.core.handlers.language_model_options import LanguageModelOptions

    return load_model(folder, LanguageModelOptions(), "cpu")


@pytest.fixture(scope="module")
def engine(loaded: tuple[Any, Any]) -> Iterator[Any]:
    from torchserve.core.generation.hf_engine import HfEngine

    engine = HfEngine(loaded[1], memory=1024, batch=64)
    yield engine
    engine.stop()
    with pytest.raises(EngineStopped):
        engine.submit("late", [1], Sampling(1), lambda _: None)


class Asked:
    """A request to an engine, and all that it was told."""

    def __init__(self, engine: Any, name: str, prompt: Sequence[int], sampling: Sampling) -> None:
        self.heard: list[Progress] = []
        self._came = asyncio.Event()
        engine.submit(name, prompt, sampling, self._hear)

    def _hear(self, progress: Progress) -> None:
        self.heard.append(progress)
        self._came.set()

    async def end(self) -> Progress:
        async for progress in self:
            if progress.finished or progress.error:
                return progress
        raise AssertionError

    async def __aiter__(self) -> AsyncIterator[Progress]:
        seen = 0
        while True:
            while seen < len(self.heard):
                seen += 1
                yield self.heard[seen - 1]
            self._came.clear()
            async with asyncio.timeout(SOON):
                await self._came.wait()


def greedy(tokens: int) -> Sampling:
    return Sampling(tokens, temperature=0.0)


def reference(loaded: tuple[Any, Any], prompt: Sequence[int], count: int) -> list[int]:
    import torch

    with torch.inference_mode():
        out = loaded[1].generate(torch.tensor([list(prompt)]), max_new_tokens=count, do_sample=False, eos_token_id=END)
    return [token for token in out[0, len(prompt) :].tolist() if token != END]


async def test_tokens_are_those_of_generate_and_come_one_by_one(engine: Any, loaded: tuple[Any, Any]) -> None:
    prompt = list(b"the sea")
    asked = Asked(engine, "a", prompt, greedy(12))
    last = await asked.end()
    assert last.finished in {"stop", "length"}
    assert list(last.tokens) == reference(loaded, prompt, 12)
    lengths = [len(progress.tokens) for progress in asked.heard]
    assert lengths == sorted(lengths)
    assert len(lengths) >= len(last.tokens), "each token is told as it comes"


async def test_requests_side_by_side_do_not_mix(engine: Any, loaded: tuple[Any, Any]) -> None:
    prompts = [f"{number} sheep".encode() for number in range(6)]
    asked = [Asked(engine, f"s{i}", list(prompt), greedy(8)) for i, prompt in enumerate(prompts)]
    found = [list((await each.end()).tokens) for each in asked]
    assert found == [reference(loaded, prompt, 8) for prompt in prompts]


async def test_the_requests_of_a_step_are_told_before_it_ends(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Asked] = []
    ends: list[int] = []
    monkeypatch.setattr(engine, "_stepped", lambda: ends.append(sum(len(each.heard) for each in asked)))
    asked += [Asked(engine, f"t{i}", list(b"sheep"), greedy(6)) for i in range(3)]
    for each in asked:
        await each.end()
    await asyncio.sleep(0)  # the step's end is behind the last one's
    heard = sum(len(each.heard) for each in asked)
    assert ends == sorted(set(ends)), "each step tells somebody something"
    assert ends[-1] == heard
    assert len(ends) < heard, "what several are told of a step comes together"


async def test_an_idle_engine_begins_with_all_that_come_together(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[str] = []
    add = engine._manager.add_request

    def noted(*args: Any, **options: Any) -> Any:
        added.append(options["request_id"])
        return add(*args, **options)

    monkeypatch.setattr(engine._manager, "add_request", noted)
    begun_at_work: list[Asked] = []
    added_by_then: list[str] = []

    def hear(progress: Progress) -> None:
        if not begun_at_work:
            begun_at_work.append(Asked(engine, "g4", [3, 7], greedy(2)))
            added_by_then.extend(added)

    engine.submit("g1", [3, 4], greedy(4), hear)
    left, last = Asked(engine, "g2", [3, 5], greedy(2)), Asked(engine, "g3", [3, 6], greedy(2))
    assert added == []
    engine.cancel("g2")
    assert (await last.end()).finished == (await begun_at_work[0].end()).finished == "length"
    assert added_by_then == ["g1", "g3", "g4"], "an engine at work takes a request at once"
    assert left.heard == []
    engine.cancel("g1")


async def test_an_engine_that_takes_nothing_any_more_says_so(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._manager, "add_request", lambda *_, **__: None)
    asked = Asked(engine, "r1", [3, 4], greedy(2))
    assert (await asked.end()).error == "the engine takes no requests any more"
    assert engine.stats().running == engine.stats().waiting == 0


async def test_a_cancelled_request_hears_no_more_and_leaves_its_place(engine: Any) -> None:
    asked = Asked(engine, "c", list(b"x"), Sampling(100, temperature=1.0))
    async for progress in asked:
        if len(progress.tokens) >= 2:
            break
    engine.cancel("c")
    heard = len(asked.heard)
    other = Asked(engine, "d", list(b"y"), greedy(3))
    await other.end()
    assert len(asked.heard) == heard
    assert engine.stats() == EngineStats(0, 0, 0.0)
    engine.cancel("c")  # again: nothing


async def test_what_runs_is_counted(engine: Any) -> None:
    asked = Asked(engine, "e", list(b"xyz"), Sampling(60, temperature=1.0))
    assert engine.stats() == EngineStats(0, 1, 0.0)
    async for progress in asked:
        if len(progress.tokens) >= 1:
            break
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (1, 0)
    assert 0 < stats.memory < 1
    engine.cancel("e")


async def test_temperature_and_nucleus_are_each_requests_own(engine: Any) -> None:
    """A narrow nucleus leaves the likeliest token alone, whatever the other requests of the batch ask for."""
    wide = [Asked(engine, f"w{i}", list(b"dice"), Sampling(24, temperature=2.0)) for i in range(4)]
    narrow = Asked(engine, "n", list(b"dice"), Sampling(24, temperature=1.0, top_p=1e-6))
    plain = Asked(engine, "g", list(b"dice"), greedy(24))
    drawn = {tuple((await each.end()).tokens) for each in wide}
    assert len(drawn) > 1
    assert (await narrow.end()).tokens == (await plain.end()).tokens


async def test_a_seed_draws_the_same_whatever_runs_beside_it(engine: Any) -> None:
    def drawn(name: str, seed: int | None) -> Asked:
        return Asked(engine, name, list(b"dice"), Sampling(16, temperature=1.5, top_p=0.9, seed=seed))

    asked = [drawn("s1", 7), drawn("s2", None), drawn("s3", 7), drawn("s4", 8)]
    first, _, again, other = [tuple((await each.end()).tokens) for each in asked]
    alone = tuple((await drawn("s5", 7).end()).tokens)
    assert first == again == alone
    assert other != first


async def test_logprobs_are_those_of_the_model_before_temperature(engine: Any, loaded: tuple[Any, Any]) -> None:
    import torch

    prompt = list(b"the sea")
    last = await Asked(engine, "l", prompt, Sampling(6, temperature=1.7, seed=1, logprobs=3)).end()
    assert len(last.logprobs) == len(last.tokens) > 0
    with torch.inference_mode():
        logits = loaded[1](torch.tensor([[*prompt, *last.tokens]])).logits[0, len(prompt) - 1 : -1]
    for token, told, expected in zip(last.tokens, last.logprobs, logits.log_softmax(-1), strict=True):
        assert told.logprob == pytest.approx(float(expected[token]), abs=1e-3)
        assert [value for _, value in told.likeliest] == pytest.approx(expected.topk(3).values.tolist(), abs=1e-3)
        assert all(float(expected[id_]) == pytest.approx(value, abs=1e-3) for id_, value in told.likeliest)


class Countdown:
    """A constraint to even tokens, and to the end token after `left` of them; `broken` from the first on."""

    def __init__(self, left: int, *, broken: bool = False) -> None:
        self.left = left
        self.broken = broken

    def allowed(self) -> bytes:
        if self.broken:
            raise ValueError("it can't be kept to")
        even = b"\x55" * (END // 8)
        return even + b"\x00" if self.left else bytes(END // 8) + b"\x01"

    def accept(self, token: int) -> None:
        self.left -= 1


async def test_a_constraint_is_kept_to_by_its_own_sequence_alone(engine: Any, loaded: tuple[Any, Any]) -> None:
    prompt = list(b"sheep")
    held = Asked(engine, "k", prompt, Sampling(60, temperature=2.0, constraint=Countdown(5)))
    free = Asked(engine, "f", prompt, greedy(12))
    last = await held.end()
    assert (len(last.tokens), last.finished) == (5, "stop")
    assert not any(token % 2 for token in last.tokens)
    assert list((await free.end()).tokens) == reference(loaded, prompt, 12)
    broken = await Asked(engine, "b", prompt, Sampling(60, constraint=Countdown(5, broken=True))).end()
    assert broken.error == "it can't be kept to"
    assert engine.stats() == EngineStats(0, 0, 0.0)


async def test_nothing_is_kept_of_requests_that_are_over(engine: Any) -> None:
    for number in range(5):
        asked = Asked(engine, f"o{number}", list(b"x"), Sampling(50, temperature=1.0, seed=1))
        async for progress in asked:
            if progress.tokens:
                break
        engine.cancel(f"o{number}")
    await Asked(engine, "whole", list(b"x"), Sampling(2)).end()
    await asyncio.sleep(0)  # the manager's own clean-up is behind the call that told the end
    assert len(engine._sampler) == 0
    assert not engine._manager.output_router.result_handlers


def test_the_context_is_the_models(engine: Any) -> None:
    assert engine.context_length == CONTEXT


def test_pickles_are_not_read(tmp_path: Path, folder: Path) -> None:
    from torchserve.core.generation.hf_model import load_model
    from torchserve.core.handlers.language_model_options import LanguageModelOptions

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match=r"pytorch_model.bin is a pickle"):
        load_model(tmp_path, LanguageModelOptions(), "cpu")
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_model(tmp_path / "nothing", LanguageModelOptions(), "cpu")


class Steps:
    """A recorder of what an engine tells its StepThreads: sequences and tokens of each step, and None at its end."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int] | None] = []

    def begin(self, sequences: int, tokens: int) -> None:
        self.told.append((sequences, tokens))

    def end(self) -> None:
        self.told.append(None)


async def test_each_step_is_told_before_it_is_computed_and_when_its_tokens_are_there(loaded: tuple[Any, Any]) -> None:
    from torchserve.core.generation.hf_engine import HfEngine

    steps: Any = Steps()
    engine = HfEngine(loaded[1], memory=1024, batch=64, threads=steps)
    steps.told.clear()  # of the warm-up
    asked = [Asked(engine, f"p{i}", [3, 4, 5 + i], greedy(3)) for i in range(2)]
    for each in asked:
        await each.end()
    engine.stop()
    assert steps.told == [(2, 6), None, (2, 2), None, (2, 2), None]
