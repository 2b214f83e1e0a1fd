"""A training repository that gates its decoder, by test and by hook: red with a leak, green without."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import yaml

ROOT = Path(__file__).parents[2]
FILES = {
    "tinygpt/__init__.py": "",
    "tinygpt/model.py": '''
        """A decoder as training repositories have it."""
        import torch
        from torch import nn
        from torch.nn import functional as F


        class Block(nn.Module):
            def __init__(self, width: int, heads: int, context: int) -> None:
                super().__init__()
                self.heads = heads
                self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
                self.attn, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
                self.register_buffer("mask", torch.tril(torch.ones(context, context)).bool())

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                b, t, c = x.shape
                q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.attn(self.ln_1(x)).chunk(3, -1))
                att = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
                att = att.masked_fill(~self.mask[:t, :t], float("-inf"))
                x = x + self.proj((att.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
                return x + self.mlp(self.ln_2(x))


        class TinyGPT(nn.Module):
            def __init__(self, vocabulary: int = 29, width: int = 16, context: int = 16) -> None:
                super().__init__()
                self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
                self.blocks = nn.ModuleList(Block(width, 2, context) for _ in range(2))
                self.head = nn.Linear(width, vocabulary)

            def forward(self, ids: torch.Tensor, targets: torch.Tensor | None = None) -> tuple:
                x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
                for block in self.blocks:
                    x = block(x)
                logits = self.head(x)
                loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
                return logits, loss
    ''',
    "tinygpt/proved.py": '''
        import torch

        from tinygpt.model import TinyGPT


        def decoder():
            return TinyGPT().eval(), {"ids": torch.arange(7)[None]}
    ''',
    "tests/test_causality.py": '''
        from mpcompile.testing import assert_autoregressive
        from tinygpt.proved import decoder


        def test_reads_nothing_ahead():
            assert_autoregressive(*decoder())
    ''',
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n',
    ".pre-commit-config.yaml": '''
        repos:
          - repo: https://github.com/owner/mpcompile
            rev: v0.1.0
            hooks:
              - id: mpcompile-models
                args: [--import-code, "tinygpt.proved:decoder", --claim, "autoregressive(ids -> output_0)"]
    ''',
}  # fmt: skip
#: Both gates in one process, to load torch once: the suite of the repository, and the command line of its hook; then
#: the same of the commit that mends the leak.
BOTH = """
import json, pytest, subprocess, sys
from mpcompile.cli import main
command = ["mpcompile", *json.loads(sys.argv[1])]
for commit in ("HEAD", "origin/main"):
    subprocess.run(["git", "reset", "-q", "--hard", commit], check=True)
    for name in [n for n in sys.modules if n.startswith(("tinygpt", "test_"))]:
        del sys.modules[name]
    tests, hook, sys.argv = int(pytest.main(["-q", "-p", "no:cacheprovider"])), 0, command
    try:
        main()
    except SystemExit as ended:
        hook = ended.code
    print(commit, "exit codes", tests, hook)
"""


def git(*arguments: str, at: Path) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *names, *arguments], cwd=at, check=True, capture_output=True)


def test_a_clone_is_red_with_a_leak_and_green_without(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    for name, text in FILES.items():
        file = origin / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip())
    model = origin / "tinygpt/model.py"
    sound = model.read_text()
    model.write_text(sound.replace("torch.ones(context, context))", "torch.ones(context, context), 1)"))
    git("init", "-q", "-b", "main", at=origin)
    git("add", "-A", at=origin)
    git("commit", "-qm", "leak", at=origin)
    git("clone", "-q", str(origin), str(clone), at=tmp_path)
    model.write_text(sound)
    git("commit", "-qam", "mended", at=origin)
    git("fetch", "-q", at=clone)
    hooks = {
        h["id"]: h for h in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    }
    (used,) = yaml.safe_load((clone / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    hook = hooks[used["id"]]
    assert hook["language"] == "system" and not hook["pass_filenames"]
    command = [*hook["entry"].split()[1:], *used["args"]]
    env = {k: v for k, v in os.environ.items() if k != "CI"} | {
        "OMP_NUM_THREADS": "1"
    }  # pytest shortens without it
    done = subprocess.run([sys.executable, "-c", BOTH, json.dumps(command)], cwd=clone, capture_output=True,
                          text=True, env=env, check=False)  # fmt: skip
    said, mended = done.stdout.split("HEAD exit codes 1 1\n")
    line = 1 + next(i for i, text in enumerate(sound.splitlines()) if "att.softmax(-1)" in text)
    assert said.count(f"tinygpt/model.py:{line}:") == 2
    assert len(re.findall(r"output_0 at (\d+) reads ids at (?!\1)\d+", said)) == 2
    assert mended.endswith("origin/main exit codes 0 0\n")
