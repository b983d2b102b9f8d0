"""hpcagent: tunes HPC libraries and applications on the user's own cluster, offline."""

__version__ = "0.1.0"
