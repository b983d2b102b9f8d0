! Defines main under another name.
!
! caught: screen gate.override
! without screen: symbols gate.symbol
subroutine smooth(n, x, y, total) bind(C, name="smooth")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int64_t), value :: n
  real(c_double), intent(in) :: x(n)
  real(c_double), intent(out) :: y(n), total(1)
  integer(c_int64_t) :: i
  total(1) = 0
  do i = 1, n
    y(i) = (x(max(i - 1, 1_c_int64_t)) + x(i) + x(min(i + 1, n))) / 3
    total(1) = total(1) + y(i)
  end do
end subroutine smooth

subroutine begin() bind(C, name="main")
end subroutine begin
