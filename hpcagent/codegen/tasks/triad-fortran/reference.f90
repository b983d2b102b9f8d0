subroutine triad(n, s, a, b, c) bind(C, name="triad")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int64_t), intent(in), value :: n
  real(c_double), intent(in), value :: s
  real(c_double), intent(out) :: a(n)
  real(c_double), intent(in) :: b(n), c(n)
  integer(c_int64_t) :: i
  do i = 1, n
    a(i) = b(i) + s * c(i)
  end do
end subroutine triad
