"""HfEngine: transformers' continuous batching behind the interface of an engine.

Its API still moves from release to release. All that is used of it is used in this file and in `hf_sampler`:
`init_continuous_batching`, and of the manager `start`, `stop`, `add_request` and `cancel_request`. `logit_processor`
is replaced, and so are the two ways by which `output_router` hands over what was generated. VERSIONS is the range of
releases that this was tried with; tests/core/generation/test_hf_engine.py fails when one of them behaves otherwise.

The manager's thread computes one step after the other, and hands the tokens of a step over to the event loop, all in
one call. The two threads share Python's lock. When a step is done the manager's thread goes on with many short
operations, and gives the lock up for less time than the loop's thread needs to wake up: so the loop's thread may get it
only once its wait has lasted for the interpreter's switch interval, each time that it waits for input or output.
Therefore what is done with a step's tokens, until they are written to the front, is done in that one call (`stepped`
ends it), and `share_lock` shortens the interval.

An idle engine begins with all requests that come together (`gathering`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .engine import EngineCapacity, EngineStats, EngineStopped, Progress, Sampling
from .gathering import Gathering

if TYPE_CHECKING:
    from .hf_sampler import Choosing
    from .step_threads import StepThreads

log = logging.getLogger(__name__)

VERSIONS = ((5, 20), (6, 0))  # the first that serves, and the first that was not tried
_PAGE = 32  # tokens of a page of the KV memory
_WARM_UP = 60.0  # seconds
_SWITCH = 5e-4  # seconds
_STOP = 5.0  # seconds that the generating thread may take to end


class HfEngine:
    """An engine that runs a transformers model in a thread of its own.

    `memory` is the number of tokens that fit into the KV memory, and `batch` the most that one step computes. `stepped`
    is called on the event loop when all requests of a step have been told of their tokens. `threads` sets torch's
    number of threads for each step; without, the number is left alone.
    """

    def __init__(
        self, model: Any, *, memory: int, batch: int, stepped: Callable[[], None] = lambda: None,
        threads: StepThreads | None = None,
    ) -> None:  # fmt: skip
        from transformers.generation.configuration_utils import ContinuousBatchingConfig, GenerationConfig

        self._ends = ends_of(model)
        limit = getattr(model.config, "max_position_embeddings", None) or memory
        self._context = min(limit, memory)
        from .hf_sampler import HfSampler

        # The manager takes the likeliest token of what the sampler leaves of the logits.
        generation = GenerationConfig(do_sample=False, eos_token_id=self._ends, pad_token_id=self._ends[0])
        config = ContinuousBatchingConfig(
            page_size=_PAGE, num_blocks=-(-memory // _PAGE), max_batch_tokens=batch,
            use_cuda_graph=False, use_async_batching=False,  # the sampler sees each token before the next
        )  # fmt: skip
        self._manager: Any = model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=config
        )
        self._sampler = HfSampler(threads.begin) if threads is not None else HfSampler()
        self._manager.logit_processor = self._sampler
        self._step_ends = threads.end if threads is not None else _nothing
        self._device = model.device
        self._memory = memory
        self._batch = batch
        self._running: dict[str, _Sequence] = {}
        self._gathered: dict[str, tuple[list[int], int]] = {}  # prompts and the most tokens, of those not begun
        self._gathering = Gathering(self._begin)
        self._stepped = stepped
        self._loop: asyncio.AbstractEventLoop | None = None
        self._manager.start()
        self._warm_up()
        router = self._manager.output_router
        router.deliver_batch, router.deliver = self._hand_over, lambda output: self._hand_over([output])

    @property
    def context_length(self) -> int:
        return self._context

    @property
    def capacity(self) -> EngineCapacity:
        return EngineCapacity(self._context, -(-self._memory // _PAGE) * _PAGE, _PAGE, self._batch)

    def _warm_up(self) -> None:
        """Generate two tokens, so that the first request finds all memory in place. Raises EngineStopped."""
        self._manager.add_request([0], request_id="warm-up", max_new_tokens=2, eos_token_id=[-1])
        done = self._manager.get_result("warm-up", timeout=_WARM_UP)
        if done is None or done.error:
            raise EngineStopped(f"the engine generates nothing: {done.error if done else f'nothing in {_WARM_UP:g} s'}")

    def submit(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling, receive: Callable[[Progress], None]
    ) -> None:
        """Begin to generate; see Engine."""
        if not self._manager.is_running():
            raise EngineStopped("the engine's thread has ended")
        from .hf_sampler import Choosing

        self._loop = asyncio.get_running_loop()
        choosing = Choosing(sampling, self._device)
        gathers = self._gathering.lasts or not self._running
        self._running[request_id] = _Sequence(receive, len(prompt), choosing)
        self._sampler.add(request_id, choosing)
        self._gathered[request_id] = list(prompt), sampling.max_tokens
        if gathers:
            self._gathering.came()
        else:
            self._begin()

    def _begin(self) -> None:
        """Hand what was gathered to the manager."""
        gathered, self._gathered = self._gathered, {}
        for request_id, (prompt, most) in gathered.items():
            added = self._manager.add_request(
                prompt, request_id=request_id, max_new_tokens=most, streaming=True, eos_token_id=self._ends
            )
            if added is None:
                sequence = self._running[request_id]
                self._forget(request_id)
                sequence.receive(Progress((), error="the engine takes no requests any more"))

    def _hand_over(self, outputs: Sequence[Any]) -> None:
        """Have the event loop take what a step has generated; called on the manager's thread."""
        self._step_ends()
        known = [output for output in outputs if output.request_id in self._running]
        if known and self._loop is not None:
            self._loop.call_soon_threadsafe(self._take_step, known)

    def _take_step(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            self._deliver(output)
        self._stepped()

    def _deliver(self, output: Any) -> None:
        sequence = self._running.get(output.request_id)
        if sequence is None:  # cancelled
            return
        receive, choosing = sequence.receive, sequence.choosing
        tokens: Sequence[int] = output.generated_tokens
        logprobs = choosing.logprobs[: len(tokens)]  # the generating thread may be ahead
        if choosing.error:
            self.cancel(output.request_id)
            receive(Progress(tokens, error=choosing.error))
            return
        if not output.is_finished():
            sequence.length = sequence.prompt + len(tokens)
            receive(Progress(tokens, logprobs=logprobs))
            return
        self._forget(output.request_id)
        if output.error:
            receive(Progress(tokens, error=str(output.error)))
        elif tokens and tokens[-1] in self._ends:
            receive(Progress(tokens[:-1], "stop", logprobs=logprobs[: len(tokens) - 1]))
        else:
            receive(Progress(tokens, "length", logprobs=logprobs))

    def cancel(self, request_id: str) -> None:
        """End a request; see Engine."""
        if request_id in self._running:
            begun = self._gathered.pop(request_id, None) is None
            self._forget(request_id)
            if begun:
                self._manager.cancel_request(request_id)

    def _forget(self, request_id: str) -> None:
        del self._running[request_id]
        self._sampler.remove(request_id)

    def stats(self) -> EngineStats:
        """Return the engine's load."""
        lengths = [each.length for each in self._running.values() if each.length]
        return EngineStats(len(lengths), len(self._running) - len(lengths), min(1.0, sum(lengths) / self._memory))

    def stop(self) -> None:
        """End all requests and the thread."""
        running, self._running, self._gathered = self._running, {}, {}
        for sequence in running.values():
            sequence.receive(Progress((), error="the engine was stopped"))
        if self._manager.is_running():
            self._manager.stop(block=True, timeout=_STOP, hard_stop=True)


@dataclass(slots=True)
class _Sequence:
    """A sequence: how many tokens its prompt has, and all of it, 0 until the first new one has come."""

    receive: Callable[[Progress], None]
    prompt: int
    choosing: Choosing
    length: int = 0


def _nothing() -> None: ...


def share_lock() -> None:
    """Have a thread that waits for Python's lock get it after half a millisecond, which by default takes five."""
    sys.setswitchinterval(_SWITCH)


def ends_of(model: Any) -> list[int]:
    """Return the tokens that end a text; [-1], which no token is, if the model has none."""
    said = model.generation_config.eos_token_id
    said = model.config.eos_token_id if said is None else said
    if said is None:
        return [-1]
    return [said] if isinstance(said, int) else list(said)
