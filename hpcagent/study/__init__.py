"""Runs: journal, lease, the turn of the loop, what is submitted next."""
