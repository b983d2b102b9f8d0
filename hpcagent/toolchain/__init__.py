"""What builds programs here, whether it works, and what went wrong where it does not."""
