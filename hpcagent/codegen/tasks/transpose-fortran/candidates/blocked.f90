! A block of both matrices fits the first cache, and each of its lines is used whole.
subroutine transpose_(rows, cols, a, b) bind(C, name="transpose")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: rows, cols
  real(c_double), intent(in) :: a(cols, rows)
  real(c_double), intent(out) :: b(rows, cols)
  integer, parameter :: block = 32
  integer :: i, j, first, second
  do first = 1, rows, block
    do second = 1, cols, block
      do j = second, min(second + block - 1, cols)
        do i = first, min(first + block - 1, rows)
          b(i, j) = a(j, i)
        end do
      end do
    end do
  end do
end subroutine transpose_
