"""The small model that ships: it has learnt from simulated surfaces what to try next."""
