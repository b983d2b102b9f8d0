program sort
  use, intrinsic :: iso_fortran_env, only: int32, int64
  implicit none
  integer(int64) :: n, width, first
  integer(int32), allocatable :: x(:), y(:)
  character(len=200) :: word(3)
  integer :: i, file

  do i = 1, 3
    call get_command_argument(i, word(i))
  end do
  read (word(1), *) n
  allocate (x(n), y(n))
  open (newunit=file, file=trim(word(2)), access="stream", form="unformatted", status="old")
  read (file) x
  close (file)
  width = 1
  do while (width < n)
    do first = 1, n, 2*width
      call merged(first, min(first + width, n + 1), min(first + 2*width, n + 1))
    end do
    x = y
    width = 2*width
  end do
  open (newunit=file, file=trim(word(3)), access="stream", form="unformatted", status="replace")
  write (file) x
  close (file)

contains

  ! x(low:middle-1) and x(middle:end-1) are ascending; y(low:end-1) becomes both together.
  subroutine merged(low, middle, end)
    integer(int64), intent(in) :: low, middle, end
    integer(int64) :: a, b, k
    a = low
    b = middle
    do k = low, end - 1
      if (a < middle) then
        if (b >= end) then
          y(k) = x(a)
          a = a + 1
          cycle
        else if (x(a) <= x(b)) then
          y(k) = x(a)
          a = a + 1
          cycle
        end if
      end if
      y(k) = x(b)
      b = b + 1
    end do
  end subroutine merged
end program sort
