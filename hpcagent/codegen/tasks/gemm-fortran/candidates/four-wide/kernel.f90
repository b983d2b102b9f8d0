! The loop runs along four columns of c and four of b at once: 16 products for 8 loads.
subroutine gemm(m, n, k, a, b, c) bind(C, name="gemm")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t), intent(in), value :: m, n, k
  real(c_double), intent(in) :: a(k, m), b(n, k)
  real(c_double), intent(inout) :: c(n, m)
  real(c_double) :: f(4, 4), b1, b2, b3, b4
  integer :: i, j, p, columns, depth
  columns = m - mod(m, 4)
  depth = k - mod(k, 4)
  do i = 1, columns, 4
    do p = 1, depth, 4
      f = a(p:p + 3, i:i + 3)
      do j = 1, n
        b1 = b(j, p)
        b2 = b(j, p + 1)
        b3 = b(j, p + 2)
        b4 = b(j, p + 3)
        c(j, i) = c(j, i) + f(1, 1) * b1 + f(2, 1) * b2 + f(3, 1) * b3 + f(4, 1) * b4
        c(j, i + 1) = c(j, i + 1) + f(1, 2) * b1 + f(2, 2) * b2 + f(3, 2) * b3 + f(4, 2) * b4
        c(j, i + 2) = c(j, i + 2) + f(1, 3) * b1 + f(2, 3) * b2 + f(3, 3) * b3 + f(4, 3) * b4
        c(j, i + 3) = c(j, i + 3) + f(1, 4) * b1 + f(2, 4) * b2 + f(3, 4) * b3 + f(4, 4) * b4
      end do
    end do
    call plain(depth + 1, k, i, i + 3)
  end do
  call plain(1, k, columns + 1, m)

contains

  ! What is left of four columns, or of four steps of p.
  subroutine plain(first, last, left, right)
    integer, intent(in) :: first, last, left, right
    integer :: column, q
    do column = left, right
      do q = first, last
        c(:, column) = c(:, column) + a(q, column) * b(:, q)
      end do
    end do
  end subroutine plain
end subroutine gemm
