"""The paper's ablations on MNIST, one runnable module each."""
