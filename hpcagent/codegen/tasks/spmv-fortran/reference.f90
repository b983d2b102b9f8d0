subroutine spmv(rows, cols, nonzeros, offsets, columns, values, x, y) bind(C, name="spmv")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: rows, cols, nonzeros
  integer(c_int32_t), intent(in) :: offsets(0:rows), columns(0:nonzeros - 1)
  real(c_double), intent(in) :: values(0:nonzeros - 1), x(0:cols - 1)
  real(c_double), intent(out) :: y(0:rows - 1)
  integer :: i, k
  do i = 0, rows - 1
    y(i) = 0
    do k = offsets(i), offsets(i + 1) - 1
      y(i) = y(i) + values(k) * x(columns(k))
    end do
  end do
end subroutine spmv
