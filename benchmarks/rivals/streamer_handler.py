"""A handler for TorchServe that streams text as TorchServe means it: by transformers' `generate` and its streamer.

A batch is generated together, and its pieces go out as they come; requests that arrive meanwhile wait for its end. The
last piece of an answer is a line of JSON with the number of its tokens.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalSubscript=false

from __future__ import annotations

import json
from threading import Thread
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ts.handler_utils.hf_batch_streamer import TextIteratorStreamerBatch
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler


class Streamer(BaseHandler):
    """A handler of one causal language model."""

    def initialize(self, context: Any) -> None:
        """Load the model of `handler.model_path`."""
        folder = context.model_yaml_config["handler"]["model_path"]
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch of `{"prompt": …, "max_tokens": …}`."""
        asked = [each.get("body") or each.get("data") for each in data]
        asked = [json.loads(each) if isinstance(each, bytes | bytearray | str) else each for each in asked]
        inputs = self.tokenizer([each["prompt"] for each in asked], return_tensors="pt", padding=True)
        streamer = TextIteratorStreamerBatch(
            tokenizer=self.tokenizer, batch_size=len(asked), skip_prompt=True, skip_special_tokens=True
        )
        made: list[torch.Tensor] = []
        most = max(each["max_tokens"] for each in asked)
        thread = Thread(target=self._generate, args=(inputs, streamer, most, made))
        thread.start()
        for texts in streamer:
            pieces = [each["text"] for each in texts]
            send_intermediate_predict_response(
                pieces, context.request_ids, "Intermediate Prediction success", 200, context
            )
        thread.join()
        begin, pad = inputs["input_ids"].shape[1], self.tokenizer.pad_token_id
        return ["\n" + json.dumps({"tokens": int((row[begin:] != pad).sum())}) for row in made[0]]

    def _generate(self, inputs: Any, streamer: Any, most: int, made: list[torch.Tensor]) -> None:
        with torch.inference_mode():
            made.append(
                self.model.generate(
                    **inputs, streamer=streamer, max_new_tokens=most, do_sample=False,
                    pad_token_id=self.tokenizer.pad_token_id,
                )
            )  # fmt: skip
