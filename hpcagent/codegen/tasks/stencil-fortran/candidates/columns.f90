! Along the columns, which threads share; the boundary is no question inside of the loop.
subroutine stencil(rows, cols, c, u, v) bind(C, name="stencil")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: rows, cols
  real(c_double), intent(in), value :: c
  real(c_double), intent(in) :: u(cols, rows)
  real(c_double), intent(out) :: v(cols, rows)
  integer :: i, j
  !$omp parallel do private(j) schedule(static)
  do i = 1, rows
    if (i == 1 .or. i == rows .or. cols < 2) then
      v(:, i) = u(:, i)
      cycle
    end if
    v(1, i) = u(1, i)
    !$omp simd
    do j = 2, cols - 1
      v(j, i) = u(j, i) + c * (u(j, i - 1) + u(j, i + 1) + u(j - 1, i) + u(j + 1, i) - 4 * u(j, i))
    end do
    v(cols, i) = u(cols, i)
  end do
end subroutine stencil
