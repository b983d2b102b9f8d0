subroutine halo(comm, rows, cols, u) bind(C, name="halo")
  use, intrinsic :: iso_c_binding
  use mpi
  implicit none
  integer(c_int), value :: comm
  integer(c_int32_t), intent(in), value :: rows, cols
  real(c_double), intent(inout) :: u(cols, 0:rows + 1)
  integer :: rank, ranks, below, above, ierr
  call MPI_Comm_rank(comm, rank, ierr)
  call MPI_Comm_size(comm, ranks, ierr)
  below = modulo(rank - 1, ranks)
  above = modulo(rank + 1, ranks)
  call MPI_Sendrecv(u(:, rows), cols, MPI_DOUBLE_PRECISION, above, 0, u(:, 0), cols, &
    MPI_DOUBLE_PRECISION, below, 0, comm, MPI_STATUS_IGNORE, ierr)
  call MPI_Sendrecv(u(:, 1), cols, MPI_DOUBLE_PRECISION, below, 1, u(:, rows + 1), cols, &
    MPI_DOUBLE_PRECISION, above, 1, comm, MPI_STATUS_IGNORE, ierr)
end subroutine halo
