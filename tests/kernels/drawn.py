"""What hypothesis may draw for each op, for the tests of every version."""

from __future__ import annotations

from hypothesis import strategies as st

from torchserve.kernels.normalize_images.cases import DTYPES, LAYOUTS, NormalizeCase
from torchserve.kernels.resize_normalize.cases import ResizeCase
from torchserve.kernels.resize_normalize.frame import Fit
from torchserve.kernels.softmax_topk.cases import TopCase

_sides = st.integers(1, 40)
# No subnormal: Triton's interpreter takes a scalar below 2**-126 for fp64, where the compiler takes every one for fp32.
_colours = st.tuples(*[st.floats(0.0, 1.0, width=32, allow_subnormal=False)] * 3)
_spreads = st.tuples(*[st.floats(0.25, 1.0, width=32)] * 3)

normalize_cases = st.builds(
    NormalizeCase,
    shape=st.tuples(st.integers(0, 3), _sides, _sides, st.sampled_from([1, 3])),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(list(LAYOUTS)),
    sliced=st.booleans(),
    mean=_colours,
    std=_spreads,
)

_small = st.integers(1, 24)
_crops = st.tuples(_small, _small)
fits = st.one_of(
    st.builds(Fit, crop=_crops),
    st.builds(Fit, crop=_crops, resize=st.integers(1, 30), longest=st.one_of(st.none(), st.integers(31, 60))),
    st.builds(Fit, crop=_crops, resize=_crops),
    st.builds(Fit, crop=_crops, letterbox=st.just(True)),
)
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))
resize_cases = st.builds(
    ResizeCase,
    sizes=st.lists(sizes, max_size=3).map(tuple),
    fit=fits,
    resample=st.sampled_from(["bilinear", "bicubic"]),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(list(LAYOUTS)),
    channels=st.sampled_from([1, 3]),
    fill=st.integers(0, 255),
    stark=st.booleans(),
    parts=st.booleans(),
    mean=_colours,
    std=_spreads,
)

top_cases = st.integers(1, 70).flatmap(
    lambda classes: st.builds(
        TopCase,
        rows=st.integers(0, 4),
        classes=st.just(classes),
        count=st.integers(0, classes),
        scores=st.sampled_from(DTYPES),
        levels=st.sampled_from([0, 1, 4]),
        hole=st.booleans(),
        sliced=st.booleans(),
    )
)
