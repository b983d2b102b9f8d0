"""What a machine is: collected where the measurements run, parsed by pure functions."""
