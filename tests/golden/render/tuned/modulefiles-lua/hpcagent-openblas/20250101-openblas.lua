-- The tuned OpenBLAS setting of hpcagent run 20250101-openblas, for Lmod.
help("OpenBLAS setting tuned by hpcagent, run 20250101-openblas, 2025-01-01T00:00:00Z." .. "\n" ..
     "Library: /opt/openblas/lib/libopenblas.so.0" .. "\n" ..
     "1.084 times as fast as the default (99.5 % interval 1.071 to 1.097)" .. "\n" ..
     "Start with: numactl --interleave=all taskset -c 0-1,3 your_program")
whatis("Name: hpcagent-openblas")
whatis("Version: 20250101-openblas")
whatis("Description: OpenBLAS setting tuned by hpcagent. 1.084 times as fast as the default (99.5 % interval 1.071 to 1.097)")
conflict("hpcagent-openblas")
setenv("OPENBLAS_CORETYPE", "SkylakeX")
setenv("OPENBLAS_NUM_THREADS", "2")
