! The inner loop runs along a column of b and of c, four columns of b at a time.
subroutine gemm(m, n, k, a, b, c) bind(C, name="gemm")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: m, n, k
  real(c_double), intent(in) :: a(k, m), b(n, k)
  real(c_double), intent(inout) :: c(n, m)
  integer :: i, p, whole
  whole = k - mod(k, 4)
  do i = 1, m
    do p = 1, whole, 4
      c(:, i) = c(:, i) + a(p, i) * b(:, p) + a(p + 1, i) * b(:, p + 1) &
        + a(p + 2, i) * b(:, p + 2) + a(p + 3, i) * b(:, p + 3)
    end do
    do p = whole + 1, k
      c(:, i) = c(:, i) + a(p, i) * b(:, p)
    end do
  end do
end subroutine gemm
