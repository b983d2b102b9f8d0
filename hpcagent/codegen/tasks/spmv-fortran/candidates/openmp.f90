! Rows are shared out; the sum of a row stays in registers.
subroutine spmv(rows, cols, nonzeros, offsets, columns, values, x, y) bind(C, name="spmv")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: rows, cols, nonzeros
  integer(c_int32_t), intent(in) :: offsets(0:rows), columns(0:nonzeros - 1)
  real(c_double), intent(in) :: values(0:nonzeros - 1), x(0:cols - 1)
  real(c_double), intent(out) :: y(0:rows - 1)
  real(c_double) :: total
  integer :: i, k
  !$omp parallel do private(k, total) schedule(static)
  do i = 0, rows - 1
    total = 0
    !$omp simd reduction(+:total)
    do k = offsets(i), offsets(i + 1) - 1
      total = total + values(k) * x(columns(k))
    end do
    y(i) = total
  end do
end subroutine spmv
