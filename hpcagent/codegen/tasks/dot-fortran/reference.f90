subroutine dot(n, x, y, res) bind(C, name="dot")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int64_t), intent(in), value :: n
  real(c_double), intent(in) :: x(n), y(n)
  real(c_double), intent(out) :: res(2)
  integer(c_int64_t) :: i
  res = 0
  do i = 1, n
    res(1) = res(1) + x(i) * y(i)
    res(2) = res(2) + x(i)
  end do
end subroutine dot
