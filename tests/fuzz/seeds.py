"""Sound inputs that the mutations start from, for each kind of file."""

from __future__ import annotations

import random
import struct
import wave
import zlib
from io import BytesIO
from typing import Any

SETS = (
    b"k=3",
    b"k=3\nrate=0.25\nwide=8",
    b"rate=1e-3",
    b"wide=1e999",
    b"k = 10",
    b"nope=1",
    b"k=2\nk=3",
    b"wide=1e3",
)


MANIFEST = (
    '{"format": 1, "files": {"state.safetensors": "'
    + "0" * 64
    + '"}, "record": {"step": 0, "epoch": 0, "cursor": 0, '
    '"seed": 0, "spec_hash": "'
    + "0" * 64
    + '", "metrics_bytes": 0, "progress": {"step": 0, "window": {"loss": 1.5}}}}'
)


BUILD = (
    '{"model": "m", "backend": "torch", "mpcompile": "0.1", "spec": {"name": "m.mp", "sha256": "0"}, "proofs": [], '
    '"parameters": {"w": [2, 3]}, "files": {"model.py": "' + "0" * 64 + '"}}'
)


def run_json() -> list[bytes]:
    facts = (
        '{"format": 2, "model": "m", "spec": "spec.mp", "spec_path": "m.mp", "spec_hash": "'
        + "0" * 64
        + '", '
        '"overrides": {"k": "3"}, "data": "moons", "data_digest": "", "vocabulary": ["a", "b"], '
        '"classes": {"y": ["a", "b"]}, '
        '"statistics": {"sizes": {"train": 8}, "fields": {"x": {"shape": [2], "low": 0.0, "high": 1.0, "mean": 0.5, '
        '"deviation": 0.1}}, "rate": null}, "seed": 0, "steps": null, "settings": {"optimizer": {"kind": '
        '"adam", "betas": '
        '[0.9, 0.999], "eps": 1e-08, "momentum": 0.0, "weight_decay": 0.0, "clip": null}, "rate": 0.001, "schedule": '
        '{"kind": "constant", "warmup": 0, "final": 0.0, "every": 1, "factor": 0.5}, "batch": 8, "epochs": 1, "steps": '
        'null, "data": null, "seed": 0, "length": 64, "patience": 0, "valid_every": null, "log_every": null, '
        '"checkpoint_every": null, "threshold": null}, "backend": "torch", "device": "cpu", "precision": "float32", '
        '"mixed": false, "unproven": false, "init": null, "versions": {"python": "3.11"}, "trackers": [], '
        '"history": [{"step": 3, "changes": {"rate": [0.1, 0.2]}}]}'
    )
    return [facts.encode()]


def safetensors() -> list[bytes]:
    import numpy as np
    from safetensors.numpy import save

    return [
        save({"parameter/w": np.ones((2, 3), np.float32), "optimizer/step": np.array(3)}),
        save({"b": np.zeros(0, np.float64), "c": np.ones(3, bool)}),
        save({}),
    ]


def arrays(*more: tuple[Any, str]) -> list[Any]:
    import numpy as np

    return [np.arange(6, dtype=d).reshape(2, 3) for d in ("<f4", "<f8", "<i8", "|u1", ">i2", "<f2")] + [
        np.ones((2, 1, 4, 4), np.uint8), np.zeros((0, 3)), np.asfortranarray(np.ones((3, 2))), np.array(5.0),
        np.array([True, False]), np.arange(4),
    ]  # fmt: skip


def npys() -> list[bytes]:
    import numpy as np

    out = []
    for array in arrays():
        file = BytesIO()
        np.save(file, array)
        out.append(file.getvalue())
    return out


def npzs() -> list[bytes]:
    import numpy as np

    x = np.arange(6.0).reshape(2, 3)
    held: list[dict[str, Any]] = [
        {"x": x}, {"x": x, "y": np.arange(2)}, {"x_train": x, "x_test": x}, {"train": x, "valid": x, "test": x},
        {"x": np.ones((2, 2), np.uint8), "x_shape": np.array([2, 13])}, {"x": np.arange(5), "len": np.array([2, 3])},
        {"train": np.arange(5), "train_len": np.array([2, 3])}, {"x_train": x, "y_train": np.arange(2)},
    ]  # fmt: skip
    out = []
    for i, columns in enumerate(held):
        file = BytesIO()
        (np.savez_compressed if i % 2 else np.savez)(file, **columns)
        out.append(file.getvalue())
    return out


CSVS = (
    b"a,b,y\n1,2,0\n3,4,1\n", b"1,2\n3,4\n", b"x,y\n1,red\n2,blue\n3,red\n", b'"a","b"\n"1",2\n', b"a;b\n1;2\n",
    b"\xef\xbb\xbfx\n1\n", b"x,y\r\n1,2\r\n", b"x\n1e999\nnan\n", b"1,?\n2,3\n", b"label,x\na,1\n,2\n", b"x,x\n1,2\n",
)  # fmt: skip


def wavs() -> list[bytes]:
    out = []
    for channels, width, rate in ((1, 2, 8000), (2, 1, 44100), (1, 3, 16000), (2, 4, 8000)):
        file = BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(channels)
            sound.setsampwidth(width)
            sound.setframerate(rate)
            sound.writeframes(bytes(range(48)))
        out.append(file.getvalue())
    samples = struct.pack("<6f", 0, 0.5, -0.5, 1, -1, 0.25)
    shape = struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)
    body = (
        b"WAVEfmt "
        + struct.pack("<I", 16)
        + shape
        + b"LIST\x03\0\0\0abc\0data"
        + struct.pack("<I", 24)
        + samples
    )
    return [*out, b"RIFF" + struct.pack("<I", len(body)) + body]


def pngs() -> list[bytes]:
    """PNGs of every kind of pixel, 3 x 2; by hand, because Pillow does not write all."""
    out = []
    for colour, depth, samples in (
        (0, 8, 1),
        (2, 8, 3),
        (3, 8, 1),
        (4, 8, 2),
        (6, 8, 4),
        (0, 16, 1),
        (0, 1, 1),
        (2, 16, 3),
    ):
        row = b"\0" + bytes(range(-(-3 * samples * depth // 8)))
        parts = [(b"IHDR", struct.pack(">IIBBBBB", 3, 2, depth, colour, 0, 0, 0))]
        if colour == 3:
            parts.append((b"PLTE", bytes(range(24))))
        parts += [(b"IDAT", zlib.compress(row * 2)), (b"IEND", b"")]
        out.append(b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts
        ))  # fmt: skip
    return out


def jpegs() -> list[bytes]:
    from PIL import Image

    out = []
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            file = BytesIO()
            Image.new(mode, (9, 7), 100 if mode == "L" else None).save(file, "JPEG", progressive=progressive)
            out.append(file.getvalue())
    return out


def noise() -> list[bytes]:
    return [random.Random(n).randbytes(40) for n in range(40)]
