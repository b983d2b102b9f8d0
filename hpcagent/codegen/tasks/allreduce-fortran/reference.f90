subroutine reduce_blocks(comm, blocks, length, x, y) bind(C, name="reduce_blocks")
  use, intrinsic :: iso_c_binding
  use mpi
  implicit none
  integer(c_int), value :: comm
  integer(c_int32_t), intent(in), value :: blocks, length
  real(c_double), intent(in) :: x(length, blocks)
  real(c_double), intent(out) :: y(length, blocks)
  integer :: i, ierr
  do i = 1, blocks
    call MPI_Reduce(x(:, i), y(:, i), length, MPI_DOUBLE_PRECISION, MPI_SUM, 0, comm, ierr)
    call MPI_Bcast(y(:, i), length, MPI_DOUBLE_PRECISION, 0, comm, ierr)
  end do
end subroutine reduce_blocks
