"""The helpers that emitted code needs for a loop that ends once nothing changes."""

from __future__ import annotations

#: Types that the helpers name.
ALIASES = {"Carry": "Carry = tuple[Array, ...]\n"}

HELPERS = {
    "repeat": '''def repeat(step: Callable[[Carry], Carry], first: Carry, read: Sequence[int], most: int) -> Carry:
    """Repeat a step until it leaves what is read of the carry as it was, `most` times at most."""

    def iteration(state: tuple[Array, Array, Carry]) -> tuple[Array, Array, Carry]:
        count, _, carry = state
        after = step(carry)
        changed = jnp.asarray([jnp.any(after[i] != carry[i]) for i in read])
        return count + 1, jnp.any(changed), after

    def going(state: tuple[Array, Array, Carry]) -> Array:
        return (state[0] < most) & state[1]

    last: Carry = lax.while_loop(going, iteration, (jnp.asarray(0), jnp.asarray(True), first))[2]
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

    def iteration(carry: Carry) -> Carry:
        return body(jnp.asarray(0), carry)

    step, captured = jax.closure_convert(iteration, first)

    def following(carry: Carry, captured: Sequence[Array]) -> Carry:
        after: Carry = step(carry, *captured)
        return after

    @jax.custom_jvp
    def solved(first: Carry, captured: Sequence[Array]) -> Carry:
        def iteration(carry: Carry) -> Carry:
            return following(carry, captured)

        return repeat(iteration, first, read, most)

    @solved.defjvp
    def tangent(
        primals: tuple[Carry, Sequence[Array]], tangents: tuple[Carry, Sequence[Array]]
    ) -> tuple[Carry, Carry]:
        carry, captured = solved(*primals), primals[1]

        def of_carry(carry: Carry) -> Carry:
            return following(carry, captured)

        def of_captured(captured: Sequence[Array]) -> Carry:
            return following(carry, captured)

        slope = jax.linearize(of_carry, carry)[1]
        pull = jax.linear_transpose(slope, carry)

        def rest(v: Carry) -> Carry:
            return tuple(a - b for a, b in zip(v, slope(v), strict=True))

        def solve(_: Callable[..., Carry], b: Carry) -> Carry:
            def iteration(v: Carry) -> Carry:
                return tuple(x + y for x, y in zip(slope(v), b, strict=True))

            return repeat(iteration, b, range(len(b)), most + 1)

        def transposed(_: Callable[..., Carry], b: Carry) -> Carry:
            def iteration(v: Carry) -> Carry:
                return tuple(x + y for x, y in zip(pull(v)[0], b, strict=True))

            return repeat(iteration, b, range(len(b)), most + 1)

        moved = jax.jvp(of_captured, (captured,), (tangents[1],))[1]
        return carry, lax.custom_linear_solve(rest, moved, solve, transposed)

    return solved(first, captured)
''',
}
