"""The helpers that emitted code needs for a loop that ends once nothing changes."""

from __future__ import annotations

HELPERS = {
    "repeat": '''def repeat(
    step: Callable[[tuple[Array, ...]], tuple[Array, ...]],
    first: tuple[Array, ...],
    read: Sequence[int],
    most: int,
) -> tuple[Array, ...]:
    """Repeat a step until it leaves what is read of the carry as it was, `most` times at most."""

    def going(state: tuple[Array, Array, tuple[Array, ...]]) -> Array:
        count, changed, _ = state
        return (count < most) & changed

    def iteration(
        state: tuple[Array, Array, tuple[Array, ...]],
    ) -> tuple[Array, Array, tuple[Array, ...]]:
        count, _, carry = state
        after = step(carry)
        changed = jnp.asarray([jnp.any(after[i] != carry[i]) for i in read])
        return count + 1, jnp.any(changed), after

    last: tuple[Array, ...]
    _, _, last = lax.while_loop(going, iteration, (jnp.asarray(0), jnp.asarray(True), first))
    return last
''',
    "settle": '''def settle(
    body: Callable[[Array, tuple[Array, ...]], tuple[Array, ...]],
    first: tuple[Array, ...],
    read: tuple[int, ...],
    most: int,
) -> tuple[Array, ...]:
    """Find the fixed point of a step, which `most` iterations reach, with its derivatives.

    Elements read earlier ones alone. So does the tangent v = J v + b, for J and b the derivatives
    of the step by its carry and by all else that it reads; it settles as the carry does, and so
    does its transpose.
    """

    def iteration(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        return body(jnp.asarray(0), carry)

    step, captured = jax.closure_convert(iteration, first)

    def last(first: tuple[Array, ...], captured: Sequence[Array]) -> tuple[Array, ...]:
        def iteration(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            following: tuple[Array, ...] = step(carry, *captured)
            return following

        return repeat(iteration, first, read, most)

    def tangent(
        primals: tuple[tuple[Array, ...], Sequence[Array]],
        tangents: tuple[tuple[Array, ...], Sequence[Array]],
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        carry, captured = solved(*primals), primals[1]

        def of_carry(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            following: tuple[Array, ...] = step(carry, *captured)
            return following

        def of_captured(captured: Sequence[Array]) -> tuple[Array, ...]:
            following: tuple[Array, ...] = step(carry, *captured)
            return following

        slope = jax.linearize(of_carry, carry)[1]
        pull = jax.linear_transpose(slope, carry)

        def rest(v: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(a - b for a, b in zip(v, slope(v), strict=True))

        def solve(_: Callable[..., tuple[Array, ...]], b: tuple[Array, ...]) -> tuple[Array, ...]:
            def iteration(v: tuple[Array, ...]) -> tuple[Array, ...]:
                return tuple(x + y for x, y in zip(slope(v), b, strict=True))

            return repeat(iteration, b, range(len(b)), most + 1)

        def transposed(
            _: Callable[..., tuple[Array, ...]], b: tuple[Array, ...]
        ) -> tuple[Array, ...]:
            def iteration(v: tuple[Array, ...]) -> tuple[Array, ...]:
                return tuple(x + y for x, y in zip(pull(v)[0], b, strict=True))

            return repeat(iteration, b, range(len(b)), most + 1)

        moved = jax.jvp(of_captured, (captured,), (tangents[1],))[1]
        return carry, lax.custom_linear_solve(rest, moved, solve, transposed)

    solved = jax.custom_jvp(last)
    solved.defjvp(tangent)
    return solved(first, captured)
''',
}
