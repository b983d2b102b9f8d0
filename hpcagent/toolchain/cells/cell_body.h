/* What main does in C and in C++ alike: everything that -D asks for; `wrong` counts wrong answers,
 * `speaks` tells the one process that prints. */
#ifdef CELL_BLAS
    if (speaks) {
        int bits = say_blas(), program_bits = 8 * (int)sizeof(blas_int), header_bits = 0;
        say_environment("LD_LIBRARY_PATH");
        say_environment("LD_PRELOAD");
#ifdef CELL_CBLAS
        header_bits = say_cblas();
#endif
        /* Calling it all the same may read 32 bits of chance, or write where nothing is. */
        if (bits != 0 && (bits != program_bits || (header_bits != 0 && bits != header_bits))) {
            say("answer", "not tried");
#ifdef CELL_MPI
            MPI_Abort(MPI_COMM_WORLD, 2);
#endif
            return 2;
        }
    }
#endif
#ifdef CELL_OPENMP
    if (speaks)
        say_team();
    wrong += openmp_wrong();
#endif
#ifdef CELL_BLAS
    wrong += dgemm_wrong(3) + dgemm_wrong(64);
#ifdef CELL_LAPACK
    wrong += dpotrf_wrong();
#endif
#ifdef CELL_CBLAS
    wrong += cblas_wrong();
#endif
#ifdef CELL_OPENMP
    wrong += blas_in_team_wrong(speaks);
#endif
#endif
    if (speaks)
        say_openmp_runtimes();
#ifdef CELL_MPI
    wrong += mpi_end(&wrong);
#endif
