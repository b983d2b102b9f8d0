! Both directions at once.
subroutine halo(comm, rows, cols, u) bind(C, name="halo")
  use, intrinsic :: iso_c_binding
  use mpi
  implicit none
  integer(c_int), value :: comm
  integer(c_int32_t), intent(in), value :: rows, cols
  real(c_double), intent(inout), asynchronous :: u(cols, 0:rows + 1)
  integer :: rank, ranks, below, above, ierr, requests(4)
  call MPI_Comm_rank(comm, rank, ierr)
  call MPI_Comm_size(comm, ranks, ierr)
  below = modulo(rank - 1, ranks)
  above = modulo(rank + 1, ranks)
  call MPI_Irecv(u(:, 0), cols, MPI_DOUBLE_PRECISION, below, 0, comm, requests(1), ierr)
  call MPI_Irecv(u(:, rows + 1), cols, MPI_DOUBLE_PRECISION, above, 1, comm, requests(2), ierr)
  call MPI_Isend(u(:, rows), cols, MPI_DOUBLE_PRECISION, above, 0, comm, requests(3), ierr)
  call MPI_Isend(u(:, 1), cols, MPI_DOUBLE_PRECISION, below, 1, comm, requests(4), ierr)
  call MPI_Waitall(4, requests, MPI_STATUSES_IGNORE, ierr)
end subroutine halo
