"""The handler: it takes a sound and answers when somebody speaks in it. It runs on TorchServe 0.12 as well.

A sound that can't be read is answered with status 400; the other requests of its batch are answered as usual.
"""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
import torch

from ts.torch_handler.base_handler import BaseHandler

RATE = 16_000  # samples a second
FRAME = 512  # samples the network takes at a time: 32 ms
SPEECH, SILENCE = 0.5, 0.35  # probability at which speech begins, and below which it ends
PAUSE = 8  # frames of silence that end a stretch; a shorter pause belongs to it


class VoiceHandler(BaseHandler):
    """A handler of sounds. BaseHandler loads the TorchScript file, a network that takes frame after frame and has a
    state.
    """

    def preprocess(self, data: list[dict[str, Any]]) -> list[torch.Tensor]:
        """Return each sound as float32 [samples], -1 to 1, and an empty tensor for a refused one."""
        self.refused: dict[int, str] = {}
        sounds = []
        for index, row in enumerate(data):
            try:
                sounds.append(read_wave(row.get("data") or row.get("body") or b""))
            except ValueError as error:
                self.refused[index] = str(error)
                sounds.append(torch.zeros(0))
        return sounds

    def inference(self, data: list[torch.Tensor], *args: Any, **kwargs: Any) -> list[list[float]]:
        """Return the probability of speech for each frame of each sound. All sounds run side by side as one batch."""
        frames = [-(-len(sound) // FRAME) for sound in data]
        padded = torch.zeros(len(data), max(frames), FRAME)
        for row, sound in zip(padded, data, strict=True):
            row.view(-1)[: len(sound)] = sound
        self.model.reset_states()
        with torch.inference_mode():
            found = [self.model(padded[:, at].to(self.device), RATE)[:, 0].cpu() for at in range(max(frames))]
        table = torch.stack(found, dim=1).tolist() if found else [[] for _ in data]
        return [row[:count] for row, count in zip(table, frames, strict=True)]

    def postprocess(self, data: list[list[float]]) -> list[dict[str, Any]]:
        """Return, for each sound, its length, and the beginning and end of each stretch of speech, in seconds."""
        return [self._refuse(index) if index in self.refused else answer(row) for index, row in enumerate(data)]

    def _refuse(self, index: int) -> dict[str, Any]:
        self.context.set_response_status(400, "Bad Request", index)
        return {"code": 400, "type": "BadRequestException", "message": self.refused[index]}


def answer(probabilities: list[float]) -> dict[str, Any]:
    """Return the stretches of speech, joined over short pauses, and the highest probability."""
    speech: list[list[float]] = []
    begun: int | None = None
    last = 0
    for frame, probability in enumerate([*probabilities, *[0.0] * PAUSE]):
        if probability >= (SPEECH if begun is None else SILENCE):
            begun, last = frame if begun is None else begun, frame + 1
        elif begun is not None and frame + 1 - last >= PAUSE:
            speech.append([seconds(begun), seconds(last)])
            begun = None
    return {"seconds": seconds(len(probabilities)), "speech": speech, "peak": round(max(probabilities, default=0.0), 4)}


def seconds(frames: int) -> float:
    """Return the duration of this many frames."""
    return round(frames * FRAME / RATE, 3)


def read_wave(sound: Any) -> torch.Tensor:
    """Return a WAV file of 16 bits and 16 kHz as float32 [samples], its channels mixed. Raises ValueError."""
    try:
        with wave.open(io.BytesIO(bytes(sound))) as file:
            kind = (file.getframerate(), 8 * file.getsampwidth())
            samples, channels = file.readframes(file.getnframes()), file.getnchannels()
    except (wave.Error, EOFError, TypeError) as error:
        raise ValueError(f"send a WAV file: {error or 'it ends too soon'}") from error
    if kind != (RATE, 16):
        raise ValueError(f"send a WAV file of 16000 Hz and 16 bits, not of {kind[0]} Hz and {kind[1]} bits")
    pairs = np.frombuffer(samples[: len(samples) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)
    return torch.from_numpy(pairs.astype(np.float32).mean(axis=1) / 32768)
