"""The JAX backend: programs as pure functions of a dict of parameters; needs nothing of mpcompile."""
from mpcompile_jax.emit import Emitted, emit_module
