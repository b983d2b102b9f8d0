! All blocks lie one behind the other, so they are one.
subroutine reduce_blocks(comm, blocks, length, x, y) bind(C, name="reduce_blocks")
  use, intrinsic :: iso_c_binding
  use mpi
  implicit none
  integer(c_int), value :: comm
  integer(c_int32_t), intent(in), value :: blocks, length
  real(c_double), intent(in) :: x(length, blocks)
  real(c_double), intent(out) :: y(length, blocks)
  integer :: ierr
  call MPI_Allreduce(x, y, blocks * length, MPI_DOUBLE_PRECISION, MPI_SUM, comm, ierr)
end subroutine reduce_blocks
