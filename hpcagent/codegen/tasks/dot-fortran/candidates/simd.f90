! Many sums that do not depend on each other fill the pipelines and the vector registers.
subroutine dot(n, x, y, res) bind(C, name="dot")
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int64_t), intent(in), value :: n
  real(c_double), intent(in) :: x(n), y(n)
  real(c_double), intent(out) :: res(2)
  integer, parameter :: lanes = 32
  real(c_double) :: products(lanes), sums(lanes)
  integer(c_int64_t) :: i, whole
  products = 0
  sums = 0
  whole = n - mod(n, int(lanes, c_int64_t))
  do i = 1, whole, lanes
    products = products + x(i:i + lanes - 1) * y(i:i + lanes - 1)
    sums = sums + x(i:i + lanes - 1)
  end do
  res(1) = sum(products)
  res(2) = sum(sums)
  do i = whole + 1, n
    res(1) = res(1) + x(i) * y(i)
    res(2) = res(2) + x(i)
  end do
end subroutine dot
