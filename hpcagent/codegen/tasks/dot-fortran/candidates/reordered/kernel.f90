! The plain loop: build.yaml allows the compiler to add in another order, so it can use vectors.
subroutine dot(n, x, y, res) bind(C, name="dot")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int64_t), intent(in), value :: n
  real(c_double), intent(in) :: x(n), y(n)
  real(c_double), intent(out) :: res(2)
  real(c_double) :: product, total
  integer(c_int64_t) :: i
  product = 0
  total = 0
  do i = 1, n
    product = product + x(i) * y(i)
    total = total + x(i)
  end do
  res(1) = product
  res(2) = total
end subroutine dot
