subroutine gemm(m, n, k, a, b, c) bind(C, name="gemm")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: m, n, k
  real(c_double), intent(in) :: a(k, m), b(n, k)
  real(c_double), intent(inout) :: c(n, m)
  integer :: i, j, p
  do i = 1, m
    do j = 1, n
      do p = 1, k
        c(j, i) = c(j, i) + a(p, i) * b(j, p)
      end do
    end do
  end do
end subroutine gemm
