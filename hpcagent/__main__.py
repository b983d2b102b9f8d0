"""`python -m hpcagent`: what the launcher in bin/ starts."""

from __future__ import annotations

from hpcagent.cli import main

if __name__ == "__main__":
    main()
