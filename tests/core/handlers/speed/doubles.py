"""Models whose speed is made up, under clocks that they move, and handlers of them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import transforms

from torchserve.core.handlers.context import Context
from torchserve.core.handlers.image_classifier import ImageClassifier


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Net(torch.nn.Module):
    """Takes so many seconds a row, laid out one way or the other, and counts its rows."""

    def __init__(self, clock: Clock, plain: float = 0.02, last: float = 0.01) -> None:
        super().__init__()
        self.clock = clock
        self.plain, self.last = plain, last
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.register_buffer("seen", torch.zeros(1))
        self.ran: list[int] = []
        self.eval()

    @property
    def is_last(self) -> bool:
        return self.conv.weight.is_contiguous(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.ran.append(len(x))
        self.seen += len(x)
        self.clock.now += len(x) * (self.last if self.is_last else self.plain)
        return self.made(self.conv(x))

    def made(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class Small(ImageClassifier):
    image_processing = transforms.Compose([transforms.CenterCrop(8), transforms.ToTensor()])


def handler_of(model: Any, cls: type = Small, device: Any = "cpu", **config: Any) -> Any:
    made = cls()
    made.model, made.device = model, device
    made.context = Context("m", "/", {"model": {}}, 1, None, "0", model_yaml_config=config)
    return made


class Ticking(TorchDispatchMode):
    """A clock for models of torch's own: each operator takes so many seconds a row, of as many threads as there are.

    Two threads are `faster`, and `alone` as fast for one row, if that is given.
    """

    def __init__(self, seconds: dict[str, float], *, faster: float = 1.0, alone: float | None = None) -> None:
        super().__init__()
        self.now = 0.0
        self._seconds, self._faster = seconds, faster
        self._alone = faster if alone is None else alone

    def __call__(self) -> float:
        return self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        seconds = self._seconds.get(func.name())
        if seconds is not None:
            faster = self._faster if len(made) > 1 else self._alone
            self.now += seconds * len(made) / (faster if torch.get_num_threads() == 2 else 1.0)
        return made


PLAIN = "aten::conv2d"
MERGED = "mkldnn::_convolution_pointwise"


class Stack(torch.nn.Sequential):
    def __init__(self) -> None:
        flat = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        super().__init__(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), *flat)
        self.eval()
