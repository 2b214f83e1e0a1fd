"""Pictures and sounds are read right or refused, from their headers where they are too large."""

import struct
from pathlib import Path
from typing import Any
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image, ImageFile

from mpcompile.runner.data.opening import Unreadable
from mpcompile.runner.data.pictures import picture
from mpcompile.runner.data.sound import wav

# Pictures ----------------------------------------------------------------------------------------------


def saved(folder: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


def test_pictures_are_read_right(tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    grey, colour = r.integers(0, 256, (4, 6), np.uint8), r.integers(0, 256, (4, 6, 3), np.uint8)
    assert (picture(saved(tmp_path, Image.fromarray(grey)))[0] == grey).all()
    assert (picture(saved(tmp_path, Image.fromarray(colour))) == colour.transpose(2, 0, 1)).all()
    wide = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    assert (picture(saved(tmp_path, Image.fromarray(wide)))[0] == np.rint(wide * (255 / 65535))).all()
    black = Image.fromarray(grey > 127)
    assert (picture(saved(tmp_path, black))[0] == 255 * (grey > 127)).all()
    palette = Image.fromarray(colour).quantize(8)
    assert (picture(saved(tmp_path, palette)) == np.asarray(palette.convert("RGB")).transpose(2, 0, 1)).all()
    opaque = Image.fromarray(np.dstack([colour, np.full((4, 6), 255, np.uint8)]))
    assert (picture(saved(tmp_path, opaque)) == colour.transpose(2, 0, 1)).all()
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        turned = picture(saved(tmp_path, Image.fromarray(colour), exif=exif))
        assert turned.shape == ((3, 4, 6) if orientation < 5 else (3, 6, 4))
        assert sorted(turned[0].ravel()) == sorted(colour[..., 0].ravel())
    exif[0x0112] = 6  # to be turned clockwise
    turned = picture(saved(tmp_path, Image.fromarray(colour), exif=exif))
    assert (turned == np.rot90(colour, -1).transpose(2, 0, 1)).all()


def test_pictures_that_would_be_read_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(path: Path, beside: int = 1) -> str:
        with pytest.raises(Unreadable) as caught:
            picture(path, beside)
        return str(caught.value)

    pixels = np.zeros((4, 6, 4), np.uint8)
    assert "transparent" in says(saved(tmp_path, Image.fromarray(pixels)))
    assert "transparent" in says(saved(tmp_path, Image.fromarray(pixels[..., :2], "LA")))
    assert "transparent" in says(saved(tmp_path, Image.new("P", (4, 4)), transparency=0))
    assert "transparent" in says(saved(tmp_path, Image.new("L", (4, 4)), transparency=0))
    assert "transparent" in says(saved(tmp_path, Image.new("I;16", (4, 4)), transparency=0))
    assert "CMYK" in says(saved(tmp_path, Image.new("CMYK", (4, 4)), "a.jpg"))
    frames = [Image.new("L", (4, 4), i) for i in (1, 9)]
    assert "animated" in says(saved(tmp_path, frames[0], save_all=True, append_images=frames[1:]))
    for name, form in (("a.png", "GIF"), ("a.jpg", "BMP"), ("a.png", "TIFF"), ("a.png", "EPS")):
        assert "no sound PNG or JPEG" in says(saved(tmp_path, Image.new("RGB", (4, 4)), name, format=form))
    levels = bytes([0b00011011])  # grey of two bits, of which one is the transparent one
    parts = (
        b"IHDR" + struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0),
        b"tRNS\0\1",
        b"IDAT" + compress(b"\0" + levels),
        b"IEND",
    )
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(p) - 4) + p + struct.pack(">I", crc32(p)) for p in parts)
    )
    assert "transparent" in says(tmp_path / "a.png")
    deep = bytearray(saved(tmp_path, Image.new("RGB", (4, 4))).read_bytes())
    deep[24] = 16
    deep[29:33] = struct.pack(">I", crc32(bytes(deep[12:29])))
    (tmp_path / "a.png").write_bytes(deep)
    assert "16 bits" in says(tmp_path / "a.png")
    # beyond the limits, and within them but more than so short a file can hold
    too_many = (
        (40_000, 25_000),
        (12_000, 12_000),
        (2**31 - 1, 2**31 - 1),
        (3, 2**24),
        (2**24, 3),
        (9000, 9000),
    )
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("pixels were decoded"))
    for width, height in too_many:
        large = bytearray(saved(tmp_path, Image.new("L", (4, 4))).read_bytes())
        large[16:24] = struct.pack(">II", width, height)
        large[29:33] = struct.pack(">I", crc32(bytes(large[12:29])))
        (tmp_path / "a.png").write_bytes(large)
        assert "pixels" in says(tmp_path / "a.png")
    monkeypatch.undo()
    path = saved(tmp_path, Image.new("RGB", (2000, 2000)))
    assert "a folder of 1000 pictures of this size takes 11.2 GiB in memory" in says(path, 1000)


def test_postscript_never_reaches_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was called"))
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(Unreadable, match="no sound PNG or JPEG"):
        picture(tmp_path / "a.png")


# Sound -------------------------------------------------------------------------------------------------


def riff(kind: int, channels: int, rate: int, bits: int, held: bytes, size: int | None = None) -> bytes:
    block = channels * bits // 8
    shape = struct.pack("<HHIIHH", kind, channels, rate, rate * block % 2**32, block % 2**16, bits)
    data = struct.pack("<4sI", b"data", len(held) if size is None else size) + held
    body = b"WAVE" + struct.pack("<4sI", b"fmt ", len(shape)) + shape + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_sounds_of_every_width(tmp_path: Path) -> None:
    x = np.linspace(-1, 0.99, 50)
    narrow = {
        (1, 8): np.rint(x * 128 + 128).clip(0, 255).astype(np.uint8).tobytes(),
        (1, 16): np.rint(x * 2**15).astype("<i2").tobytes(),
        (1, 24): b"".join(int(v).to_bytes(3, "little", signed=True) for v in np.rint(x * 2**23)),
        (1, 32): np.rint(x * 2**31).astype("<i4").tobytes(),
        (3, 32): x.astype("<f4").tobytes(),
        (3, 64): x.astype("<f8").tobytes(),
    }
    for (kind, bits), held in narrow.items():
        (tmp_path / "a.wav").write_bytes(riff(kind, 1, 8000, bits, held))
        found, rate = wav(tmp_path / "a.wav")
        np.testing.assert_allclose(found, x, atol=2.0 ** (1 - bits if kind == 1 else -23))
        assert rate == 8000 and found.dtype == np.float32
    (tmp_path / "a.wav").write_bytes(riff(1, 2, 8000, 16, np.array([100, 300] * 9, "<i2").tobytes()))
    assert (wav(tmp_path / "a.wav")[0] == 200 / 2**15).all()


@pytest.mark.parametrize(("held", "says"), [
    (riff(1, 0, 8000, 16, bytes(40)), "0 channels"), (riff(1, 1, 0, 16, bytes(40)), "0 Hz"),
    (riff(1, 60_000, 8000, 16, bytes(40)), "60000 channels"), (riff(1, 1, 2**32 - 1, 16, bytes(40)), "Hz"),
    (riff(1, 1, 8000, 16, bytes(40), 2**32 - 1), "cut off"), (riff(1, 1, 8000, 16, bytes(41)), "within a sample"),
    (riff(1, 1, 8000, 12, bytes(42)), "12-bit sound"), (riff(6, 1, 8000, 8, bytes(40)), "coding 6"),
    (riff(3, 1, 8000, 32, struct.pack("<2f", 0.5, 2.0)), "beyond 1"),
    (riff(3, 1, 8000, 32, struct.pack("<2f", 0.5, float("nan"))), "no numbers"),
    (b"RIFF\0\0\0\0WAVE", "no sound"), (b"RIFX" + bytes(40), "no .wav"),
    (b"RIFF\0\0\0\0WAVE" + struct.pack("<4sI", b"data", 0), "no format"),
])  # fmt: skip
def test_sounds_that_are_refused(tmp_path: Path, held: bytes, says: str) -> None:
    (tmp_path / "a.wav").write_bytes(held)
    with pytest.raises(Unreadable) as caught:
        wav(tmp_path / "a.wav")
    assert says in str(caught.value)
