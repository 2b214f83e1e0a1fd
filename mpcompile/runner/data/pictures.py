"""Pictures as bytes `[channels, height, width]`: PNG and JPEG, and what would not be read right is refused."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.opening import Unreadable, opened, reading, require

if TYPE_CHECKING:
    from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg")
_MOST_PIXELS = 2**27
#: As many as a JPEG can have. Pillow takes memory for every row, however narrow.
_MOST_ROWS = 2**16
#: No stream of deflate grows by more (https://zlib.net/zlib_tech.html).
_MOST_INFLATED = 1032
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, slots=True)
class Fit:
    """The size that pictures are given.

    `resize` is the shorter side in pixels; then `crop`, height and width, is cut from the middle.
    """

    resize: int | None = None
    crop: tuple[int, int] | None = None

    def of(self, path: Path, image: Image.Image) -> Image.Image:
        """Return a picture of that size, by an antialiased bilinear filter. Raises `Unreadable` for a smaller one."""
        from PIL import Image as images

        width, height = image.size
        if self.resize is not None:
            scale = self.resize / min(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
            image = image.resize((width, height), images.Resampling.BILINEAR)
        if self.crop is None:
            return image
        high, wide = self.crop
        if wide > width or high > height:
            raise Unreadable(
                f"{path}: it has {width} x {height} pixels, less than the crop", "--resize enlarges it first"
            )
        left, top = (width - wide) // 2, (height - high) // 2
        return image.crop((left, top, left + wide, top + high))


def picture(path: Path, beside: int = 1, fit: Fit | None = None) -> Array:
    """Read a picture of integers 0..255, `[channels, height, width]`, of one channel where it is grey, else three.

    16-bit grey is scaled by 255 / 65535 to the nearest byte; a palette is looked up; the orientation of EXIF is applied.
    Raises `Unreadable` for transparent pixels, CMYK, 16-bit colours, animations and more pixels than a limit; sizes are
    taken from the header, before anything is decoded.

    `beside` is how many pictures of its size there are. `fit` is the size that it is given.
    """
    with opened(path) as file, reading(path):
        return decoded(path, file, path.stat().st_size, beside, fit)


def decoded(path: Path, file: BinaryIO, size: int, beside: int = 1, fit: Fit | None = None) -> Array:
    """Read a picture as `picture` does from an open file of `size` bytes; `path` is its name in messages."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise Unreadable(f"{path}: pictures need Pillow: pip install 'mpcompile[plots]'") from None

    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        depth = _png_depth(file.read(26))
        file.seek(0)
        try:
            image: Image.Image = Image.open(file, formats=("PNG", "JPEG"))
        except Image.DecompressionBombError as bad:
            raise Unreadable(f"{path}: it has more than {_MOST_PIXELS} pixels") from bad
        except UnidentifiedImageError as bad:
            raise Unreadable(f"{path}: it is no sound PNG or JPEG") from bad
        with image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise Unreadable(f"{path}: it has {width} x {height} pixels; at most {_MOST_PIXELS} are read")
            if max(width, height) > _MOST_ROWS:
                raise Unreadable(
                    f"{path}: it has {width} x {height} pixels; at most {_MOST_ROWS} on a side are read"
                )
            if image.format == "PNG" and width * height * depth > 8 * _MOST_INFLATED * size:
                raise Unreadable(f"{path}: it ends before its {width} x {height} pixels do")
            grey = image.mode in _GREY
            require(path, beside * width * height * (1 if grey else 3), _of(beside))
            _require_plain(path, image, depth)
            image.load()
            array = _bytes(path, ImageOps.exif_transpose(image), grey, depth)
            if fit is not None:
                array = np.asarray(fit.of(path, Image.fromarray(array)))
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))


def _of(beside: int) -> str:
    return "the picture" if beside == 1 else f"a folder of {beside} pictures of this size"


def _png_depth(start: bytes) -> int:
    """Bits of a sample, from the header of a PNG (8 for what is none)."""
    return start[24] if start[:8] == b"\x89PNG\r\n\x1a\n" and len(start) == 26 else 8


def _require_plain(path: Path, image: Image.Image, depth: int) -> None:
    if image.mode in ("CMYK", "YCCK", "LAB", "HSV", "F"):
        raise Unreadable(f"{path}: its colours are {image.mode}", "save it as RGB or grey")
    if depth == 16 and image.mode not in _GREY:
        raise Unreadable(f"{path}: its colours have 16 bits", "save it with 8 bits; grey may have 16")
    if depth == 16 and image.mode == "LA":
        raise Unreadable(f"{path}: grey of 16 bits with transparency", "save it without transparency")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise Unreadable(f"{path}: it is animated")


def _bytes(path: Path, image: Image.Image, grey: bool, depth: int) -> Array:
    """Pixels `[height, width]` or `[height, width, 3]`."""
    if image.mode.startswith("I"):
        wide: Any = np.asarray(image).astype(np.uint32)
        if image.info.get("transparency") is not None and (wide == image.info["transparency"]).any():
            raise _transparent(path)
        return np.asarray((wide * 255 + 32767) // 65535, np.uint8)
    key = image.info.get("transparency")
    if (
        image.mode == "L" and depth < 8 and isinstance(key, int)
    ):  # counted in levels of the file, not in bytes
        image.info["transparency"] = key * 255 // (2**depth - 1)
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if alpha is not None and np.asarray(alpha).min() < 255:
        raise _transparent(path)
    return np.asarray(image.convert("L" if grey else "RGB"))


def _transparent(path: Path) -> Unreadable:
    return Unreadable(f"{path}: it has transparent pixels, whose colour depends on the ground",
                      "save it without transparency")  # fmt: skip


__all__ = ["PICTURES", "Fit", "decoded", "picture"]
