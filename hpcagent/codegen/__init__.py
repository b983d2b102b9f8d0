"""Kernels and programs that a model writes: tasks, attempts, and the gate they have to pass."""
