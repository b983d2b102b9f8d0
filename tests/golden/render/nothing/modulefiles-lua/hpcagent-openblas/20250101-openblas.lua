-- The tuned OpenBLAS setting of hpcagent run 20250101-openblas, for Lmod.
help("OpenBLAS setting tuned by hpcagent, run 20250101-openblas, 2025-01-01T00:00:00Z." .. "\n" ..
     "Library: /opt/openblas/lib/libopenblas.so.0" .. "\n" ..
     "Nothing is better than the default." .. "\n" ..
     "Start with: your_program")
whatis("Name: hpcagent-openblas")
whatis("Version: 20250101-openblas")
whatis("Description: OpenBLAS setting tuned by hpcagent. Nothing is better than the default.")
conflict("hpcagent-openblas")
