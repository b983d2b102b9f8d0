! Prints what looks like an answer.
!
! caught: symbols gate.forbidden_call
subroutine smooth(n, x, y, total) bind(C, name="smooth")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int64_t), intent(in), value :: n
  real(c_double), intent(in) :: x(n)
  real(c_double), intent(out) :: y(n), total(1)
  double precision :: sum
  integer(c_int64_t) :: i
  sum = 0
  do i = 1, n
    y(i) = (x(max(i - 1, 1_c_int64_t)) + x(i) + x(min(i + 1, n))) / 3
    sum = sum + y(i)
  end do
  total(1) = sum
  print *, "0 0 done 1 intact"
end subroutine smooth
