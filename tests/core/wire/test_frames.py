"""Frames: the same frames come out however the stream is cut, garbage is refused, and large bodies are not copied."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.wire.frames import Frame, FrameError, FrameReader, encode
from torchserve.core.wire.messages import (
    Answer,
    Failure,
    Load,
    Loaded,
    PartHead,
    Partial,
    Pieces,
    Predict,
    Result,
    Row,
    Sample,
    ToBackend,
    ToFront,
)

SCRATCH = 1 << 16

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
BODY = st.one_of(st.binary(max_size=60), st.sampled_from([4095, 4096, 4097, 70_000]).map(lambda n: b"x" * n))
ROW = st.builds(
    Row, TEXT, st.lists(st.builds(PartHead, TEXT, TEXT), max_size=2).map(tuple), st.dictionaries(TEXT, TEXT)
)
FRAME = st.builds(
    lambda number, rows, bodies: (Predict(number, tuple(rows)), bodies),
    st.integers(0, 2**62),
    st.lists(ROW, max_size=3),
    st.lists(BODY, max_size=4),
)


def feed(reader: FrameReader, data: bytes, cuts: list[int]) -> list[Frame]:
    """Everything the reader gives when `data` arrives in pieces of at most the sizes `cuts`, repeated."""
    frames: list[Frame] = []
    at = turn = 0
    while at < len(data):
        buffer = reader.get_buffer()
        size = min(cuts[turn % len(cuts)], len(buffer), len(data) - at)
        assert size > 0
        buffer[:size] = data[at : at + size]
        reader.buffer_updated(size)
        at += size
        turn += 1
        while (frame := reader.next_frame()) is not None:
            frames.append(frame)
    return frames


def join(buffers: list) -> bytes:
    return b"".join(buffers)


@given(st.lists(FRAME, min_size=1, max_size=4), st.lists(st.integers(1, 90_000), min_size=1, max_size=5))
@settings(max_examples=60)
def test_any_split_of_the_stream_gives_the_same_frames(sent, cuts) -> None:
    data = join([buffer for message, bodies in sent for buffer in encode(message, bodies)])
    if max(cuts) < 50:
        cuts = [*cuts, 10_000]
    reader = FrameReader(ToBackend, 1 << 30)
    frames = feed(reader, data, cuts)
    assert [(frame.message, [bytes(body) for body in frame.bodies]) for frame in frames] == [
        (message, list(bodies)) for message, bodies in sent
    ]
    assert reader.pending == 0


def test_byte_by_byte() -> None:
    data = join(encode(Loaded(200, "a"))) * 3
    assert [frame.message for frame in feed(FrameReader(ToFront, 1000), data, [1])] == [Loaded(200, "a")] * 3


def test_a_large_frame_whose_head_comes_in_pieces() -> None:
    message, bodies = Loaded(200, "a" * 100), (b"x" * 100_000,)
    data = join(encode(message, bodies))
    reader = FrameReader(ToFront, 1 << 30)
    assert feed(reader, data[:40], [20]) == []
    assert [(frame.message, *map(bytes, frame.bodies)) for frame in feed(reader, data[40:], [30])] == [
        (message, *bodies)
    ]


@pytest.mark.parametrize(
    "message",
    [
        Loaded(507, "no", Failure("E", "x", "h.py", 3, "trace\né")),
        Partial(3, (Result(200, "", None, ()),)),
        Pieces((3, 5)),
        Answer(
            4,
            200,
            "",
            (Result(404, "nf", "a/b", (("k", "v"),), "why"),),
            1.5,
            (Sample("n", "ms", "GAUGE", float("inf"), (("a", "b"),), 0),),
        ),
    ],
)
def test_messages_to_the_front(message) -> None:
    (frame,) = feed(FrameReader(ToFront, 10_000), join(encode(message)), [10_000])
    assert frame == Frame(message, ())


def test_large_bodies_go_out_uncopied_and_small_ones_joined() -> None:
    large, small, view = b"l" * 5000, b"s", memoryview(bytearray(b"v" * 6000))
    buffers = encode(Loaded(200, ""), [small, large, small, small, view])
    assert [len(buffer) for buffer in buffers[1:]] == [5000, 2, 6000]
    assert buffers[1] is large
    assert buffers[3] is view
    assert bytes(buffers[0]).endswith(b"s")


def test_wide_memoryviews_count_in_bytes() -> None:
    wide = memoryview(struct.pack("4d", 1, 2, 3, 4)).cast("d")
    (frame,) = feed(FrameReader(ToFront, 1000), join(encode(Loaded(200, ""), [wide])), [1000])
    assert bytes(frame.bodies[0]) == struct.pack("4d", 1, 2, 3, 4)


def test_each_large_body_is_received_into_a_bytearray_of_its_own() -> None:
    bodies = [b"a" * 40_000, b"b" * 300_000]
    data = join(encode(Predict(1, ()), bodies))
    reader = FrameReader(ToBackend, 1 << 20)
    reader.get_buffer()[:1000] = data[:1000]
    reader.buffer_updated(1000)
    assert reader.next_frame() is None
    first = reader.get_buffer()
    begun = 40_000 - len(first)
    assert bytes(first.obj[:begun]) == b"a" * begun  # and nothing of the head
    (frame,) = feed(reader, data[1000:], [1 << 20])
    assert frame.bodies == tuple(bodies)
    assert all(isinstance(body, bytearray) for body in frame.bodies)
    assert frame.bodies[0] is first.obj
    del first
    for body in frame.bodies:
        body.extend(b"!")  # nobody else looks at it


@settings(max_examples=60)
@given(st.lists(st.sampled_from([0, 1, 5000, 1 << 15, (1 << 15) + 1, 90_000]), max_size=9), st.integers(0, 1 << 17))
def test_sizes_mixed_in_a_large_frame(sizes: list[int], padding: int) -> None:
    """Small bodies lie side by side, also beside large ones, and a head may outgrow the scratch buffer by itself."""
    message = Load("m", "1", "/d", "h" * padding, 1)
    bodies = tuple(bytes([number]) * size for number, size in enumerate(sizes))
    data = join(encode(message, bodies))
    for cuts in ([1 << 20], [60_000, 11], [SCRATCH - 1, 3, 40_000]):
        assert feed(FrameReader(ToBackend, 1 << 22), data * 2, cuts) == [Frame(message, bodies)] * 2


def test_small_bodies_are_bytes_of_their_own() -> None:
    reader = FrameReader(ToBackend, 1000)
    (frame,) = feed(reader, join(encode(Predict(1, ()), [b"abc"])), [1000])
    assert frame.bodies == (b"abc",)
    assert isinstance(frame.bodies[0], bytes)


@pytest.mark.parametrize("size", [SCRATCH - 100, SCRATCH, SCRATCH + 1])
def test_frames_around_the_scratch_size_follow_one_another(size: int) -> None:
    message = Predict(1, ())
    empty = len(join(encode(message, [b""])))
    body = b"x" * (size - empty - 10)
    data = join(encode(message, [body])) * 3 + join(encode(message, [b"end"]))
    frames = feed(FrameReader(ToBackend, 1 << 20), data, [30_000, 7, 65_536])
    assert [bytes(frame.bodies[0]) for frame in frames] == [body, body, body, b"end"]


@pytest.mark.parametrize("limit_off", [0, -1])
def test_max_frame_is_exact_and_refused_before_it_is_received(limit_off: int) -> None:
    data = join(encode(Predict(1, ()), [b"x" * 100_000]))
    reader = FrameReader(ToBackend, len(data) + limit_off)
    if limit_off == 0:
        assert len(feed(reader, data, [70_000])) == 1
    else:
        with pytest.raises(FrameError, match=f"{len(data)} bytes is over the limit of {len(data) - 1}"):
            feed(reader, data[:16], [16])


def frame_of(head: bytes, bodies: bytes = b"", *, magic: bytes = b"TSW1", said: int | None = None) -> bytes:
    return struct.pack("<4sIQ", magic, len(head), len(bodies) if said is None else said) + head + bodies


# A Loaded with a field that it does not know, and whose value is nested too deep to skip.
DEEP = b"\x92\x84\xa4type\xa6loaded\xa4code\x01\xa7message\xa1x\xa7unknown" + b"\x91" * 30_000 + b"\x90" + b"\x90"
GOOD = bytes(encode(Loaded(200, "x"))[0])[16:]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "expected a frame, got b'HTTP'"),
        (frame_of(GOOD, magic=b"TSW2"), "expected a frame"),
        (frame_of(b"\xc1"), "head can't be read"),
        (frame_of(b""), "head can't be read"),
        (frame_of(GOOD + b"\x00"), "head can't be read"),
        (frame_of(bytes(encode(Predict(1, ()))[0])[16:]), "head can't be read"),
        (frame_of(b"\x92" + GOOD[1:-1] + b"\x91\xff"), "head can't be read"),
        (frame_of(b"\x91" * 5000), "head can't be read"),
        (frame_of(DEEP), "head can't be read"),
        (frame_of(GOOD, b"abc"), "add up to 0 bytes, its prefix says 3"),
        (frame_of(bytes(encode(Loaded(200, "x"), [b"abc"])[0])[16:-3], b"abcd"), "add up to 3 bytes"),
        (frame_of(b"", said=1 << 62), "over the limit"),
    ],
)
def test_garbage_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        feed(FrameReader(ToFront, 1 << 20), data, [1 << 16])


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=300)
def test_wild_bytes_raise_only_frame_errors(data: bytes, framed: bool) -> None:
    reader = FrameReader(ToFront, 1 << 20)
    try:
        feed(reader, frame_of(data) if framed else data, [1 << 16])
    except FrameError:
        pass
    else:
        assert framed or len(data) < 16


def test_a_full_buffer_that_nobody_takes_frames_from_is_a_mistake_told() -> None:
    reader = FrameReader(ToFront, 1 << 20)
    small = join(encode(Loaded(200, "x")))
    data = (small * (SCRATCH // len(small) + 1))[:SCRATCH]
    buffer = reader.get_buffer()
    buffer[:] = data[: len(buffer)]
    reader.buffer_updated(len(buffer))
    with pytest.raises(BufferError, match="next_frame"):
        reader.get_buffer()


def test_pending_tells_a_cut_stream() -> None:
    data = join(encode(Predict(1, ()), [b"x" * 100_000]))
    reader = FrameReader(ToBackend, 1 << 20)
    feed(reader, data[:10], [10])
    assert reader.pending == 10
    feed(reader, data[10:80_000], [80_000])
    assert reader.pending == 80_000


def test_load_has_defaults_for_what_old_fronts_leave_out() -> None:
    load = Load("m", "1.0", "/d", "h.py", 4)
    (frame,) = feed(FrameReader(ToBackend, 1000), join(encode(load)), [1000])
    assert frame.message == load


@given(st.lists(st.tuples(BODY, st.booleans()), max_size=6), st.sampled_from([100, 4096, 65_536, 90_000]))
@settings(max_examples=60)
def test_bodies_in_shared_memory_are_where_they_were_among_the_others(
    marked: list[tuple[bytes, bool]], cut: int
) -> None:
    bodies = [body for body, _ in marked]
    places = {index: 1000 * index for index, (_, shared) in enumerate(marked) if shared}

    def lend(offset: int, size: int) -> bytes:
        body = bodies[offset // 1000]
        assert size == len(body)
        return body

    buffers = encode(Predict(1, ()), bodies, places)
    assert len(join(buffers)) < 200 + sum(len(body) for body, shared in marked if not shared)
    assert (
        feed(FrameReader(ToBackend, 1 << 20, lend), join(buffers) * 2, [cut])
        == [Frame(Predict(1, ()), tuple(bodies))] * 2
    )


def refusing(_offset: int, _size: int) -> bytes:
    raise FrameError("not there")


@pytest.mark.parametrize(
    ("bodies", "places", "lend", "complaint"),
    [
        ([b"abc"], {0: 0}, None, "shared memory that there is not"),
        ([b"abc"], {1: 0}, refusing, "shared memory that there is not"),
        ([b"abc"], {0: 0}, refusing, "not there"),
        ([b"abc"], {0: -1}, refusing, "head can't be read"),
        ([b"x" * 2000], {0: 0}, refusing, "over the limit of 1000"),
    ],
)
def test_a_place_that_can_not_be_is_refused(bodies, places, lend, complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        feed(FrameReader(ToBackend, 1000, lend), join(encode(Predict(1, ()), bodies, places)), [1000])
