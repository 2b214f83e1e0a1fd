"""Sound: .wav files, and mu-law companding (ITU-T G.711; van den Oord et al. 2016, section 2.2), mu = levels - 1."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.opening import Unreadable, opened, reading, require

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MOST_CHANNELS = 64
#: Hz that a sound may have.
MOST_RATE = 2**20


def wav(path: Path) -> tuple[Array, int]:
    """Read sound `[samples]` in [-1, 1], channels averaged, float32, and its rate in Hz.

    PCM of 8, 16, 24 and 32 bits, floats of 32 and 64. Raises `Unreadable`.
    """
    with opened(path) as file, reading(path):
        shape, held = _chunks(path, file)
        if len(shape) < 16:
            raise Unreadable(f"{path}: it has no format of its sound")
        kind, channels = int.from_bytes(shape[:2], "little"), int.from_bytes(shape[2:4], "little")
        rate, bits = int.from_bytes(shape[4:8], "little"), int.from_bytes(shape[14:16], "little")
        if kind == _EXTENSIBLE and len(shape) >= 26:
            kind = int.from_bytes(shape[24:26], "little")
        if not (1 <= channels <= _MOST_CHANNELS and 1 <= rate <= MOST_RATE):
            raise Unreadable(f"{path}: its header says {channels} channels of {rate} Hz")
        if (kind, bits) not in _SAMPLES:
            coding = f"{bits}-bit sound" if kind in (_PCM, _FLOAT) else f"sound of coding {kind}"
            raise Unreadable(f"{path}: {coding}; PCM of 8, 16, 24 or 32 bits and floats are read")
        if len(held) % (channels * bits // 8):
            raise Unreadable(f"{path}: its sound ends within a sample")
        require(path, 8 * len(held) // (bits // 8), "its sound")
        x = _samples(held, kind, bits).reshape(-1, channels).mean(1, dtype=np.float32)
        if not (np.abs(x) <= 1).all():
            raise Unreadable(
                f"{path}: it holds samples beyond 1 or that are no numbers", "scale it to [-1, 1]"
            )
    return x, rate


_SAMPLES = {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}


def _samples(held: bytes, kind: int, bits: int) -> Array:
    """Samples as float32; n-bit PCM is divided by 2^(n - 1), and 8 bits count from 128."""
    if kind == _FLOAT:
        return np.frombuffer(held, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return (np.frombuffer(held, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        padded = np.zeros((len(held) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(held, np.uint8).reshape(-1, 3)
        return (padded.view("<i4")[:, 0] / np.float64(2**31)).astype(np.float32)
    return (np.frombuffer(held, f"<i{bits // 8}") / np.float64(2 ** (bits - 1))).astype(np.float32)


def _chunks(path: Path, file: BinaryIO) -> tuple[bytes, bytes]:
    """The format and the sound of a RIFF file."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise Unreadable(f"{path}: it is no .wav")
    shape = b""
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        here = file.tell()
        there = file.seek(0, 2) - here
        file.seek(here)
        if size > there:
            raise Unreadable(f"{path}: it is cut off: a part of {size} bytes has {there}")
        if head[:4] == b"data":
            return shape, file.read(size)
        if head[:4] == b"fmt ":
            shape = file.read(min(size, 64))
        file.seek(here + size + size % 2)
    raise Unreadable(f"{path}: it holds no sound")


def companded(wave: Array, levels: int) -> Array:
    """Encode sound in [-1, 1] as codes 0 .. levels - 1: sign(x) log(1 + mu |x|) / log(1 + mu), to the nearest level."""
    mu = levels - 1
    x = np.clip(np.asarray(wave, np.float64), -1, 1)
    y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    return np.asarray(np.rint((y + 1) / 2 * mu).astype(np.int64))


def expanded(codes: Array, levels: int) -> Array:
    """Decode codes 0 .. levels - 1 to sound in [-1, 1]."""
    mu = levels - 1
    y = 2 * np.asarray(codes, np.float64) / mu - 1
    return np.asarray(np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu)
