"""Rates and memory of reading data: packs, pictures and workers, beside torch's DataLoader and Hugging Face datasets.

    python benchmarks/data.py [--gb 2] [--pictures 4000] [--folder FOLDER]

Every line is a process of its own, whose peak of resident memory it prints. Batches of 64 rows of 1,000 float32 come in
the order of a training; files are in the page cache. Data are made in FOLDER, and stay there if it is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, BATCH, STEPS = 1000, 64, 300
WIDE = """model wide
input x: real[1000]
latent z ~ normal(x -> dense(16)) prior normal
x ~ normal(z -> dense(1000), 1.0)
train { optimizer: sgd(1e-6), batch: 64, steps: 20, valid_every: 20 }
"""
PICTURES = """model pictures
input x: integer(0..255)[3, 64, 64]
target y: category(2)
y ~ categorical(logits = x * (1 / 255) -> flatten -> dense(2))
train { augment: [flip(x), crop(x, by = 4)], batch: 64 }
"""


def made(folder: Path, gigabytes: float, pictures: int) -> None:
    """Make the data that are not there: one .npy, a small one, the same as Parquet and as Arrow, pictures, a spec."""
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = int(gigabytes * 1e9 / (4 * WIDTH))
    block = rng.standard_normal((5000, WIDTH)).astype(np.float32)
    (folder / "wide.mp").write_text(WIDE)
    (folder / "pictures.mp").write_text(PICTURES)
    np.save(folder / "small.npy", block[:1000])
    if not (folder / "big.npy").exists():
        out = np.lib.format.open_memmap(folder / "big.npy", "w+", np.float32, (rows, WIDTH))
        schema = pyarrow.schema([("x", pyarrow.list_(pyarrow.float32(), WIDTH))])
        with (
            pyarrow.parquet.ParquetWriter(
                folder / "big.parquet", schema, compression="none", use_dictionary=False
            ) as parquet,
            pyarrow.OSFile(str(folder / "big.arrow"), "wb") as file,
            pyarrow.ipc.new_stream(file, schema) as stream,
        ):
            for start in range(0, rows, len(block)):
                part = block[: rows - start] + np.float32(start / rows)
                out[start : start + len(part)] = part
                cells = pyarrow.FixedSizeListArray.from_arrays(part.reshape(-1), WIDTH)
                table = pyarrow.table([cells], schema=schema)
                parquet.write_table(table)
                stream.write_table(table)
        out.flush()
    for i in range(pictures):
        path = folder / "pictures" / ("a", "b")[i % 2] / f"{i}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.kron(rng.integers(0, 256, (16, 16, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
            Image.fromarray(pixels).save(path)


def timed(batches: Iterable[Any], rows: int = BATCH) -> float:
    """Rows a second, without the first batch, in which workers start."""
    found = iter(batches)
    next(found)
    start, count = time.perf_counter(), 0
    for _ in found:
        count += rows
    return count / (time.perf_counter() - start)


def order(count: int) -> list[np.ndarray[Any, Any]]:
    from mpcompile.runner.order import Order, usual

    found = Order(count, 0, usual(count))
    return [found.rows(0, i * BATCH, (i + 1) * BATCH) for i in range(STEPS)]


def preadv(folder: Path) -> float:
    from mpcompile.runner.data.arrays import npy
    from mpcompile.runner.data.mapped import gathered

    array = npy(folder / "big.npy")
    return timed(gathered(array, np.asarray(rows, np.int64)) for rows in order(len(array)))


def memmap(folder: Path) -> float:
    array = np.load(folder / "big.npy", mmap_mode="r")
    return timed(np.array(array[rows]) for rows in order(len(array)))


def memory(folder: Path) -> float:
    array = np.load(folder / "big.npy")
    return timed(array[rows] for rows in order(len(array)))


def loader(workers: int) -> Callable[[Path], float]:
    def run(folder: Path) -> float:
        import torch
        from torch.utils.data import DataLoader

        array = np.load(folder / "big.npy", mmap_mode="r")
        batches = [rows.tolist() for rows in order(len(array))]
        return timed(
            DataLoader(Rows(array), batch_sampler=batches, num_workers=workers, collate_fn=torch.stack)
        )

    return run


class Rows:
    """The rows of an array, as torch's map-style data sets are."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: int) -> Any:
        import torch

        return torch.from_numpy(np.array(self.array[i]))


def hugging_face(folder: Path) -> float:
    from datasets import Dataset

    found = Dataset.from_file(str(folder / "big.arrow")).with_format("numpy")
    return timed(found[rows.tolist()]["x"] for rows in order(len(found))[:60])


def own_batches(folder: Path, spec: str, data: str, workers: int) -> float:
    from mpcompile import api
    from mpcompile.runner.batches import Batches
    from mpcompile.runner.data import load_data

    module = api.load(folder / spec)
    split = load_data(module, str(folder / data)).splits["train"]
    return timed(Batches(module, split, BATCH, 0, workers=workers).stream(0, STEPS))


def decoded(folder: Path, workers: int) -> float:
    """Pictures by torch's DataLoader, decoded and changed for each batch, as `torchvision` users do."""
    import torch
    from torch.utils.data import DataLoader

    files = sorted((folder / "pictures").rglob("*.png"))
    batches = [rows.tolist() for rows in order(len(files))[: len(files) // BATCH]]
    return timed(DataLoader(Files(files), batch_sampler=batches, num_workers=workers, collate_fn=torch.stack))


class Files:
    """Pictures of files, flipped and cropped at random."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        import torch
        from PIL import Image

        with Image.open(self.files[i]) as image:
            pixels = np.asarray(image.convert("RGB"))
        dy, dx, flip = np.random.default_rng(i).integers(0, [9, 9, 2])
        pixels = np.pad(pixels, ((4, 4), (4, 4), (0, 0)))[dy : dy + 64, dx : dx + 64]
        return torch.from_numpy(
            np.ascontiguousarray((pixels[:, ::-1] if flip else pixels).transpose(2, 0, 1))
        )


def packed(folder: Path, source: str, out: str) -> float:
    """Rows a second of packing."""
    from mpcompile.runner.data.pack import Wishes, pack

    start = time.perf_counter()
    shapes = pack(folder / source, folder / f"{out}-{time.time_ns()}", Wishes())
    return max(shape[0] for shape in shapes.values()) / (time.perf_counter() - start)


def trained(folder: Path, data: str) -> float:
    """Seconds of the whole command `mpcompile train`; its peak is this process's."""
    from mpcompile import api
    from mpcompile.runner.loop import Options, train

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        train(api.load(folder / "wide.mp"), Path(out, "run"), Options(data=str(folder / data)))
    return time.perf_counter() - start


LINES: dict[str, Callable[[Path], float]] = {
    "rows/s, in memory": memory,
    "rows/s, numpy's memmap": memmap,
    "rows/s, pack (preadv)": preadv,
    "rows/s, batches of a spec, with noise": lambda f: own_batches(f, "wide.mp", "big.npy", 0),
    "rows/s, the same, 2 workers": lambda f: own_batches(f, "wide.mp", "big.npy", 2),
    "rows/s, DataLoader over a memmap": loader(0),
    "rows/s, the same, 2 workers of torch": loader(2),
    "rows/s, Hugging Face datasets": hugging_face,
    "rows/s, packing Parquet": lambda f: packed(f, "big.parquet", "packed"),
    "pictures/s, packing a folder": lambda f: packed(f, "pictures", "pets"),
    "pictures/s, batches with flip and crop": lambda f: own_batches(f, "pictures.mp", "pictures", 0),
    "pictures/s, the same, 2 workers": lambda f: own_batches(f, "pictures.mp", "pictures", 2),
    "pictures/s, DataLoader that decodes": lambda f: decoded(f, 0),
    "pictures/s, the same, 2 workers of torch": lambda f: decoded(f, 2),
    "seconds, train on 1,000 rows": lambda f: trained(f, "small.npy"),
    "seconds, train on all rows": lambda f: trained(f, "big.npy"),
}


def peak() -> float:
    """Largest resident memory of this process so far, in MB; `ru_maxrss` would begin with what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--line", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.line:
        rate = LINES[options.line](options.folder)
        print(json.dumps({"rate": rate, "peak": peak()}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        made(folder, options.gb, options.pictures)
        print("| | rate | peak MB |\n| --- | --- | --- |")
        for name in LINES:
            command = [sys.executable, __file__, "--folder", str(folder), "--line", name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(
                    f"| {name} | {(done.stderr.strip().splitlines() or ['failed'])[-1][:60]} | |", flush=True
                )
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"| {name} | {found['rate']:,.4g} | {found['peak']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
