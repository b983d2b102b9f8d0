"""Applications and libraries that can be tuned: each is a YAML card."""
