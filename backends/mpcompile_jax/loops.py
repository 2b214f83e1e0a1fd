"""The helpers that emitted code needs for a loop that ends once nothing changes."""

from __future__ import annotations

HELPERS = {
    "Carry": "Carry = tuple[Array, ...]\n",
    "repeat": '''def repeat(step: Callable[[Carry], Carry], first: Carry, read: Sequence[int], most: int) -> Carry:
    """Repeat a step until it leaves what is read of the carry as it was, `most` times at most."""

    def iteration(state: tuple[Array, Array, Carry]) -> tuple[Array, Array, Carry]:
        count, _, carry = state
        after = step(carry)
        changed = jnp.asarray([jnp.any(after[i] != carry[i]) for i in read])
        return count + 1, jnp.any(changed), after

    state = jnp.asarray(0), jnp.asarray(True), first
    last: Carry = lax.while_loop(lambda s: (s[0] < most) & s[1], iteration, state)[2]
    return last
''',
    "settle": '''def settle(
    body: Callable[[Array, Carry], Carry], first: Carry, read: Sequence[int], most: int
) -> Carry:
    """Find the fixed point of a step, which `most` iterations reach, with its derivatives.

    Elements read earlier ones alone. So does the tangent v = J v + b, for J and b the derivatives
    of the step by its carry and by all else that it reads; it settles as the carry does, and so
    does its transpose.
    """
    step, captured = jax.closure_convert(lambda carry: body(jnp.asarray(0), carry), first)

    @jax.custom_jvp
    def solved(first: Carry, captured: Sequence[Array]) -> Carry:
        return repeat(lambda carry: step(carry, *captured), first, read, most)

    @solved.defjvp
    def tangent(
        primals: tuple[Carry, Sequence[Array]], tangents: tuple[Carry, Sequence[Array]]
    ) -> tuple[Carry, Carry]:
        carry, captured = solved(*primals), primals[1]
        slope = jax.linearize(lambda carry: step(carry, *captured), carry)[1]
        pull = jax.linear_transpose(slope, carry)

        def rest(v: Carry) -> Carry:
            return tuple(a - b for a, b in zip(v, slope(v), strict=True))

        def solve(move: Callable[[Carry], Carry], b: Carry) -> Carry:
            return repeat(lambda v: jax.tree.map(lax.add, move(v), b), b, range(len(b)), most + 1)

        moved = jax.jvp(lambda captured: step(carry, *captured), (captured,), (tangents[1],))[1]
        return carry, lax.custom_linear_solve(
            rest, moved, lambda _, b: solve(slope, b), lambda _, b: solve(lambda v: pull(v)[0], b)
        )

    return solved(first, captured)
''',
}
