subroutine transpose_(rows, cols, a, b) bind(C, name="transpose")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: rows, cols
  real(c_double), intent(in) :: a(cols, rows)
  real(c_double), intent(out) :: b(rows, cols)
  integer :: i, j
  do i = 1, rows
    do j = 1, cols
      b(i, j) = a(j, i)
    end do
  end do
end subroutine transpose_
