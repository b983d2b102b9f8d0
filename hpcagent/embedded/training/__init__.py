"""How the small model is trained; nothing here is needed to use it (PyTorch: extra `train`)."""
