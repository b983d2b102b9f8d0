# The tuned OpenBLAS setting of hpcagent run 20250101-openblas (2025-01-01T00:00:00Z), for a job script.
# Library: /opt/openblas/lib/libopenblas.so.0
# 1.084 times as fast as the default (99.5 % interval 1.071 to 1.097)
export OPENBLAS_CORETYPE=SkylakeX
export OPENBLAS_NUM_THREADS=2
numactl --interleave=all taskset -c 0-1,3 your_program
