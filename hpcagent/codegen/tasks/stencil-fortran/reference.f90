subroutine stencil(rows, cols, c, u, v) bind(C, name="stencil")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: rows, cols
  real(c_double), intent(in), value :: c
  real(c_double), intent(in) :: u(cols, rows)
  real(c_double), intent(out) :: v(cols, rows)
  integer :: i, j
  do j = 1, cols
    do i = 1, rows
      if (i == 1 .or. j == 1 .or. i == rows .or. j == cols) then
        v(j, i) = u(j, i)
      else
        v(j, i) = u(j, i) + c * (u(j, i - 1) + u(j, i + 1) + u(j - 1, i) + u(j + 1, i) - 4 * u(j, i))
      end if
    end do
  end do
end subroutine stencil
