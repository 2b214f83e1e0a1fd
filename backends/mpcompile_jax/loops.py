"""The helper that emitted code needs for a loop that ends once nothing changes."""

from __future__ import annotations

HELPERS = {
    "settle": '''def settle(
    body: Callable[[Array, tuple[Array, ...]], tuple[Array, ...]],
    first: tuple[Array, ...],
    read: tuple[int, ...],
    most: int,
) -> tuple[Array, ...]:
    """Repeat a step until it leaves what it reads of the carry as it was, `most` times at most."""
    State = tuple[Array, Array, tuple[Array, ...]]

    def going(state: State) -> Array:
        step, changed, _ = state
        return (step < most) & changed

    def turn(state: State) -> State:
        step, _, carry = state
        after = body(step, carry)
        changed = jnp.asarray([jnp.any(after[i] != carry[i]) for i in read])
        return step + 1, jnp.any(changed), after

    return lax.while_loop(going, turn, (jnp.asarray(0), jnp.asarray(True), first))[2]
''',
}
