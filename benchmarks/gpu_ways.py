"""Ways from JPEGs to a network's answers on the host: the CPU's, torchvision's, and ours.

Ours is measured with and without CUDA graphs and nvJPEG. Each way is compared with the CPU's before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchserve.core.handlers.images.pictures import open_picture
from torchserve.core.handlers.speed.outputs_close import outputs_close
from torchserve.kernels.graphs import Graphs, Unrecorded, answer_of
from torchserve.kernels.jpeg import Jpeg, Source, Undecoded
from torchserve.kernels.normalize_images.cases import IMAGENET_MEAN, IMAGENET_STD
from torchserve.kernels.pipeline import prepare, record_images
from torchserve.kernels.resize_normalize import Fit, resize_normalize
from torchvision.transforms.v2 import functional

from .device_clock import Clock

FIT = Fit(crop=(224, 224), resize=256)
_LEVELS = 1.0  # levels of 255 on average that a way may be off which decodes as the CPU does
_OTHER_LEVELS = 24.0  # the same for a way that decodes on the device
Network = Callable[[Tensor], Tensor]
Batches = Mapping[str, list[bytes]]
"""Batches of one JPEG repeated, by their description."""


@dataclass(frozen=True)
class Way:
    """A way. `source` prepares one JPEG, in one of several threads; `batch` turns prepared JPEGs into a
    batch tensor.
    """

    name: str
    source: Callable[[bytes], Source]
    batch: Callable[[list[Source]], Tensor]
    by_graph: bool = False
    by_device: bool = False
    without: str = ""
    """Why this way does not exist on this device, or ""."""


def pixels(data: bytes) -> Tensor:
    return open_picture(data).pixels()


def for_device(data: bytes) -> Source:
    """Return a JPEG that the device must decode. An error in place of decoding on the CPU keeps figures from being a
    mixture.
    """
    source = open_picture(data).for_device()
    assert isinstance(source, Jpeg)
    return replace(source, otherwise=_refused)


def _refused(why: Exception) -> Tensor:
    raise why if isinstance(why, Undecoded) else Undecoded(f"{type(why).__name__}: {why}")


def ways(device: torch.device, network: Network, batch: int) -> list[Way]:
    def ours(sources: list[Source], graphs: Graphs | None = None) -> Tensor:
        return prepare(sources, FIT, IMAGENET_MEAN, IMAGENET_STD, filter="bilinear", device=device, graphs=graphs)

    graphs, why = None, ""
    try:
        graphs = record_images(device, (224, 224), IMAGENET_MEAN, IMAGENET_STD, (batch,), network)
    except Unrecorded as error:
        why = str(error)
    graphed: Callable[[list[Source]], Tensor] = lambda sources: ours(sources, graphs)  # noqa: E731
    return [
        Way("the CPU path, then one upload", pixels, lambda sources: resize_normalize(_plain(sources), FIT).to(device)),
        Way("torchvision on the device", pixels, lambda sources: by_torchvision(_plain(sources), device)),
        Way("ours", pixels, ours),
        Way("ours, CUDA graphs", pixels, graphed, by_graph=True, without=why),
        Way("ours, nvJPEG", for_device, ours, by_device=True),
        Way("ours, CUDA graphs, nvJPEG", for_device, graphed, by_graph=True, by_device=True, without=why),
    ]


def _plain(sources: Sequence[Source]) -> list[Tensor]:
    return [source for source in sources if isinstance(source, Tensor)]


def by_torchvision(pictures: list[Tensor], device: torch.device) -> Tensor:
    """Preprocess as torchvision's GPU code does: picture by picture, in float."""
    made = []
    for picture in pictures:
        values = picture.to(device, non_blocking=True).permute(2, 0, 1)
        values = functional.center_crop(functional.resize(values, [256], antialias=True), [224, 224])
        made.append(functional.to_dtype(values, torch.float32, scale=True))
    return functional.normalize(torch.stack(made), list(IMAGENET_MEAN), list(IMAGENET_STD))


def answers(batch: Tensor, network: Network) -> Tensor:
    """Return the network's answers for the batch, those of a graph if they have been computed with the batch."""
    known = answer_of(batch)
    return network(batch) if known is None else known


def checked(way: Way, data: list[bytes], network: Network) -> tuple[Way, str]:
    """Return the way, with `without` set if it can't take these pictures, and what is wrong with its result, or ""."""
    if way.without:
        return way, ""
    try:
        made = way.batch([way.source(each) for each in data])
    except Undecoded as error:
        return replace(way, without=str(error)), ""
    if way.by_graph and answer_of(made) is None:
        return replace(way, without="they are too large for the graphs"), ""
    scale = 255 * torch.tensor(IMAGENET_STD).view(-1, 1, 1)
    off = float(((made.cpu() - resize_normalize([pixels(data[0])], FIT)).abs() * scale).mean(dim=(1, 2, 3)).max())
    if not off <= (_OTHER_LEVELS if way.by_device else _LEVELS):
        return way, f"{way.name}: a picture is {off:.2f} levels off on average"
    if not outputs_close(answers(made, network), network(made), made.device):
        return way, f"{way.name}: the graph's answers are not the network's"
    return way, ""


def trials(found: Sequence[Way], batches: Batches, network: Network) -> tuple[list[tuple[Way, str]], list[str]]:
    """Return each way with each batch, and a line for each wrong result."""
    made: list[tuple[Way, str]] = []
    reds: list[str] = []
    with torch.inference_mode():
        for name, data in batches.items():
            for way in found:
                subject, red = checked(way, data, network)
                made.append((subject, name))
                reds += [f"{red} ({name})"] if red else []
    return made, reds


def lines(clock: Clock, made: Sequence[tuple[Way, str]], batches: Batches, network: Network, threads: int) -> list[str]:
    """Return a table of pictures per second."""
    report = [
        f"| way | pictures | preprocessing, pictures/s | with the network | and decoding, {threads} threads |",
        "|---|---|---:|---:|---:|",
    ]
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        for way, name in made:
            data = batches[name]
            start = f"| {way.name} | {len(data)} of {name} |"
            if way.without:
                report.append(f"{start} none: {way.without} | | |")
                continue
            figures = [
                f"{len(data) / clock.wall(part):.0f}" if part else "" for part in parts(way, data, network, pool)
            ]
            report.append(f"{start} {' | '.join(figures)} |")
    return report


def parts(way: Way, data: list[bytes], network: Network, pool: Executor) -> tuple[Callable[[], object] | None, ...]:
    """Return what is timed: preprocessing, that with the network, and all with decoding.

    A graph has no preprocessing by itself, and where the device decodes nothing can be timed without decoding.
    """
    sources = [way.source(each) for each in data]

    def answered(sources: list[Source]) -> Tensor:
        return answers(way.batch(sources), network).argmax(1).cpu()

    return (
        None if way.by_graph or way.by_device else lambda: way.batch(sources),
        None if way.by_device else lambda: answered(sources),
        lambda: answered(list(pool.map(way.source, data))),
    )
