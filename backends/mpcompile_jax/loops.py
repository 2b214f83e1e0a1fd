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
    State = tuple[Array, Array, tuple[Array, ...]]

    def going(state: State) -> Array:
        count, changed, _ = state
        return (count < most) & changed

    def turn(state: State) -> State:
        count, _, carry = state
        after = step(carry)
        changed = jnp.asarray([jnp.any(after[i] != carry[i]) for i in read])
        return count + 1, jnp.any(changed), after

    return lax.while_loop(going, turn, (jnp.asarray(0), jnp.asarray(True), first))[2]
''',
    "settle": '''def settle(
    body: Callable[[Array, tuple[Array, ...]], tuple[Array, ...]],
    first: tuple[Array, ...],
    read: tuple[int, ...],
    most: int,
) -> tuple[Array, ...]:
    """The fixed point of a step, which `most` turns reach, with the derivatives of a fixed point.

    Elements read earlier ones alone. So does the tangent v = J v + b, for J and b the derivatives of the step by its
    carry and by all else that it reads; it settles as the carry does, and so does its transpose.
    """
    Carry = tuple[Array, ...]

    def turn(carry: Carry) -> Carry:
        return body(jnp.asarray(0), carry)

    step, others = jax.closure_convert(turn, first)

    def last(first: Carry, others: Sequence[Array]) -> Carry:
        def turn(carry: Carry) -> Carry:
            return step(carry, *others)

        return repeat(turn, first, read, most)

    def tangent(
        primals: tuple[Carry, Sequence[Array]], tangents: tuple[Carry, Sequence[Array]]
    ) -> tuple[Carry, Carry]:
        carry, others = solved(*primals), primals[1]

        def of_carry(carry: Carry) -> Carry:
            return step(carry, *others)

        def of_others(others: Sequence[Array]) -> Carry:
            return step(carry, *others)

        slope = jax.linearize(of_carry, carry)[1]
        pull = jax.linear_transpose(slope, carry)

        def rest(v: Carry) -> Carry:
            return tuple(a - b for a, b in zip(v, slope(v)))

        def solve(_: Callable[[Carry], Carry], b: Carry) -> Carry:
            def turn(v: Carry) -> Carry:
                return tuple(x + y for x, y in zip(slope(v), b))

            return repeat(turn, b, range(len(b)), most + 1)

        def transposed(_: Callable[[Carry], Carry], b: Carry) -> Carry:
            def turn(v: Carry) -> Carry:
                return tuple(x + y for x, y in zip(pull(v)[0], b))

            return repeat(turn, b, range(len(b)), most + 1)

        moved = jax.jvp(of_others, (others,), (tangents[1],))[1]
        return carry, lax.custom_linear_solve(rest, moved, solve, transposed)

    solved = jax.custom_jvp(last)
    solved.defjvp(tangent)
    return solved(first, others)
''',
}
