! Five points; it doesn't open files: open(7), call system('x')
subroutine stencil(nx, ny, a, b) bind(c, name='stencil')
  use, intrinsic :: iso_c_binding, only: c_int, c_double
  implicit none
  integer(c_int), value :: nx, ny
  real(c_double), intent(in) :: a(nx, ny)
  real(c_double), intent(out) :: b(nx, ny)
  character(len=*), parameter :: words = 'it''s a "text" ! no comment'
  integer :: i, j
  b = a
  !$omp parallel do private(i) schedule(static)
  do j = 2, ny - 1
    do i = 2, nx - 1
      b(i, j) = 0.25_c_double * (a(i - 1, j) + a(i + 1, j) & ! west, east
        + a(i, j - 1) + a(i, j + 1)) &
        + 0.0d0 * len(words)
    end do
  end do
  !$omp end parallel do
end subroutine stencil
