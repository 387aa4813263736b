"""transformers' continuous batching without a server: `python -m benchmarks.generation_baseline FOLDER`.

A line on standard input asks for a run, `{"prompts": [[…], …], "tokens": 48}`; the line that comes back has its
seconds, tokens, and each request's time to the first token. `benchmarks.language_models` starts this beside a server
with the same weights.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--memory", default=16384, help="Tokens of KV memory.")
@click.option("--batch", default=512, help="Tokens of a step at most.")
@click.option("--threads", default=0, help="Threads of torch; 0: as many as it takes by itself.")
def main(folder: Path, memory: int, batch: int, threads: int) -> None:
    """Load the model in FOLDER and answer the lines of standard input."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.generation.configuration_utils import ContinuousBatchingConfig, GenerationConfig

    if threads:
        torch.set_num_threads(threads)
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype="float32", attn_implementation="sdpa").eval()
    ends = model.generation_config.eos_token_id or model.config.eos_token_id
    config = ContinuousBatchingConfig(page_size=32, num_blocks=-(-memory // 32), max_batch_tokens=batch)
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=0),
        continuous_batching_config=config,
    )
    manager.start()
    try:
        asyncio.run(_answer_lines(manager))
    finally:
        manager.stop(block=True, timeout=5)


async def _answer_lines(manager: Any) -> None:
    number = 0
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        number += 1
        print(json.dumps(await _run(manager, asked["prompts"], asked["tokens"], number)), flush=True)


async def _run(manager: Any, prompts: list[list[int]], tokens: int, number: int) -> dict[str, Any]:
    counts: dict[str, int] = {}
    first: dict[str, float] = {}
    left = len(prompts)
    done = asyncio.Event()

    def hear(output: Any) -> None:
        nonlocal left
        first.setdefault(output.request_id, time.perf_counter() - begin)
        counts[output.request_id] = len(output.generated_tokens)
        left -= output.is_finished()
        if not left:
            done.set()

    begin = time.perf_counter()
    for index, prompt in enumerate(prompts):
        name = f"{number}-{index}"
        manager.register_result_handler(name, hear)
        manager.add_request(prompt, request_id=name, max_new_tokens=tokens, streaming=True)
    await done.wait()
    return {"seconds": time.perf_counter() - begin, "tokens": sum(counts.values()), "ttft": list(first.values())}


if __name__ == "__main__":
    main()
