"""Programs compiled for a quick start, as in most tests, or as users have them."""

from importlib.metadata import version

QUICK_FLAGS = [
    "--xla_backend_optimization_level=1",
    "--xla_llvm_disable_expensive_passes=true",
]
"""For XLA_FLAGS, which are read when JAX is imported: hence no JAX above this line."""
AS_FOR_USERS = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}
if version("jaxlib").startswith("0.10."):  # later ones have no choice of emitters
    QUICK_FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    AS_FOR_USERS["xla_cpu_use_fusion_emitters"] = True


def jit(function, **options):
    """As `jax.jit`; where the compiler's own faults would show, as in jaxlib 0.10.2."""
    import jax

    return jax.jit(function, compiler_options=AS_FOR_USERS, **options)
