! By digits of 16 bits, the lower one first; negative numbers get digits that come first.
program sort
  use, intrinsic :: iso_fortran_env, only: int32, int64
  implicit none
  integer(int64) :: n
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
  call by_digit(0, 0, x, y)
  call by_digit(16, 32768, y, x)
  open (newunit=file, file=trim(word(3)), access="stream", form="unformatted", status="replace")
  write (file) x
  close (file)

contains

  subroutine by_digit(low_bit, turned, from, to)
    integer, intent(in) :: low_bit, turned
    integer(int32), intent(in) :: from(:)
    integer(int32), intent(out) :: to(:)
    integer(int64) :: place(0:65536), k
    integer :: digit
    place = 0
    do k = 1, n
      digit = ieor(int(ibits(from(k), low_bit, 16)), turned) + 1
      place(digit) = place(digit) + 1
    end do
    do digit = 1, 65536
      place(digit) = place(digit) + place(digit - 1)
    end do
    do k = 1, n
      digit = ieor(int(ibits(from(k), low_bit, 16)), turned)
      place(digit) = place(digit) + 1
      to(place(digit)) = from(k)
    end do
  end subroutine by_digit
end program sort
