"""Makes the private environment that bin/hpcagent runs in; see `hpcagent.bootstrap.setup`."""
