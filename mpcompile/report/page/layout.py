"""A layered drawing of a directed acyclic graph: rows, and the order within them.

After Sugiyama, Tagawa and Toda (1981): rows by longest path, long edges cut by dummy items, crossings reduced by
barycentres. Coordinates are given by the page, which knows what is folded.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from mpcompile.ir.graph import topological_order

SWEEPS = 8


@dataclass(frozen=True)
class Layered:
    """Items 0 .. n - 1 are the graph's; those from n on are dummies, `dummies[k]` is what item n + k carries.

    Every link goes from one row to the next. Links of one value share their dummies.
    """

    rows: tuple[tuple[int, ...], ...]
    links: tuple[tuple[int, int, Hashable], ...]
    dummies: tuple[Hashable, ...]


def layered(
    count: int,
    edges: Sequence[tuple[int, int, Hashable]],
    top: Sequence[int] = (),
    bottom: Sequence[int] = (),
) -> Layered:
    """Draw items 0 .. count - 1 with edges (from, to, value); `top` and `bottom` are ports in the outermost rows."""
    rank = _ranks(count, edges, top, bottom)
    dummies: list[Hashable] = []
    links: list[tuple[int, int, Hashable]] = []
    chains: dict[tuple[int, Hashable], list[int]] = {}
    ranks = list(rank)
    for a, b, value in edges:
        chain = chains.setdefault((a, value), [a])
        while len(chain) < rank[b] - rank[a]:
            ranks.append(rank[a] + len(chain))
            links.append((chain[-1], count + len(dummies), value))
            chain.append(count + len(dummies))
            dummies.append(value)
        links.append((chain[rank[b] - rank[a] - 1], b, value))
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for item, r in enumerate(ranks):
        rows[r].append(item)
    ordered = _ordered([row for row in rows if row], [(a, b) for a, b, _ in links])
    return Layered(tuple(map(tuple, ordered)), tuple(links), tuple(dummies))


def _ranks(
    count: int, edges: Sequence[tuple[int, int, Hashable]], top: Sequence[int], bottom: Sequence[int]
) -> list[int]:
    after: dict[int, list[int]] = {i: [] for i in range(count)}
    before: dict[int, list[int]] = {i: [] for i in range(count)}
    for a, b, _ in edges:
        after[a].append(b)
        before[b].append(a)
    order = topological_order(after)
    assert order is not None, "groups are convex"
    rank = [0] * count
    start = 1 if top else 0
    for i in order:
        rank[i] = 0 if i in top else max([start, *(rank[j] + 1 for j in before[i])])
    for i in reversed(order):  # a source without a port stands right above its first reader
        if not before[i] and after[i] and i not in top:
            rank[i] = min(rank[j] for j in after[i]) - 1
    last = max((rank[i] for i in range(count) if i not in bottom), default=0) + 1
    for i in bottom:
        rank[i] = last
    return rank


def _ordered(rows: list[list[int]], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The order with the fewest crossings that alternating sweeps find."""
    up: dict[int, list[int]] = {}
    down: dict[int, list[int]] = {}
    for a, b in links:
        down.setdefault(a, []).append(b)
        up.setdefault(b, []).append(a)
    best, fewest = rows, crossings(rows, links)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        rows = [list(row) for row in rows]
        span = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        step, neighbours = (-1, up) if sweep % 2 == 0 else (1, down)
        for r in span:
            place = {item: i for i, item in enumerate(rows[r + step])}
            centre = {
                item: sum(place[j] for j in near) / len(near) if (near := neighbours.get(item)) else float(i)
                for i, item in enumerate(rows[r])
            }
            if sweep >= SWEEPS // 2:
                rows[r].reverse()  # the other order of equal barycentres (the sort is stable)
            rows[r].sort(key=centre.__getitem__)
        now = crossings(rows, links)
        if now < fewest:
            best, fewest = rows, now
    return best


def crossings(rows: Sequence[Sequence[int]], links: Sequence[tuple[int, int]]) -> int:
    """Count the pairs of links between neighbouring rows that cross."""
    row = {item: r for r, items in enumerate(rows) for item in items}
    place = {item: i for items in rows for i, item in enumerate(items)}
    total = 0
    between: dict[int, list[tuple[int, int]]] = {}
    for a, b in links:
        between.setdefault(row[a], []).append((place[a], place[b]))
    for pairs in between.values():
        seen: list[int] = []
        for _, b in sorted(pairs):
            total += len(seen) - bisect_right(seen, b)
            insort(seen, b)
    return total
