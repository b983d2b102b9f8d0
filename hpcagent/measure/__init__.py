"""The in-job worker and the statistics of paired measurements."""
