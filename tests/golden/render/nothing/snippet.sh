# The tuned OpenBLAS setting of hpcagent run 20250101-openblas (2025-01-01T00:00:00Z), for a job script.
# Library: /opt/openblas/lib/libopenblas.so.0
# Nothing is better than the default.
your_program
