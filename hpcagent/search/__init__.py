"""Spaces, configurations and the strategies that choose what to measure next."""
