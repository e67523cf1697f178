"""Programs compiled as users' are; the other tests' are compiled for a quick start."""

from functools import partial

import jax

AS_FOR_USERS = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
}
jit = partial(jax.jit, compiler_options=AS_FOR_USERS)
"""As `jax.jit`; where the compiler's own faults would show, as in jaxlib 0.10.2."""
