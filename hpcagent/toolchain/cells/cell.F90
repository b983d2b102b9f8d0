! One cell of the matrix, in Fortran: what is in it, -D says (CELL_OPENMP, CELL_MPI, CELL_BLAS,
! CELL_LAPACK; CELL_INT64: the BLAS has 64-bit integers; CELL_DGEMM, CELL_DDOT, CELL_DPOTRF: how it
! spells them where that is not what the compiler does by itself). Stops with 1 where an answer is
! wrong and with 2 where it was not tried.
module readback
  use, intrinsic :: iso_c_binding
  use, intrinsic :: iso_fortran_env, only: output_unit, int32, int64
  implicit none

  type, bind(c) :: dl_info
    type(c_ptr) :: file, base, symbol, address
  end type

  interface
    function dlsym(handle, name) bind(c, name="dlsym") result(address)
      import :: c_ptr, c_char
      type(c_ptr), value :: handle
      character(kind=c_char), intent(in) :: name(*)
      type(c_ptr) :: address
    end function
    function dladdr(address, info) bind(c, name="dladdr") result(found)
      import :: c_ptr, c_int, dl_info
      type(c_ptr), value :: address
      type(dl_info), intent(out) :: info
      integer(c_int) :: found
    end function
    function realpath(path, buffer) bind(c, name="realpath") result(resolved)
      import :: c_ptr
      type(c_ptr), value :: path, buffer
      type(c_ptr) :: resolved
    end function
    function strlen(text) bind(c, name="strlen") result(length)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: text
      integer(c_size_t) :: length
    end function
    function pthread_self() bind(c, name="pthread_self") result(id)
      import :: c_long
      integer(c_long) :: id
    end function
  end interface

contains

  subroutine say(key, value)
    character(*), intent(in) :: key, value
    write (output_unit, "(a)") "cell " // key // " " // trim(value)
    flush (output_unit)
  end subroutine

  subroutine say_number(key, value)
    character(*), intent(in) :: key
    integer, intent(in) :: value
    character(20) :: digits
    write (digits, "(i0)") value
    call say(key, digits)
  end subroutine

  function text_at(address) result(text)
    type(c_ptr), intent(in) :: address
    character(:), allocatable :: text
    character(kind=c_char), pointer :: letters(:)
    integer :: i, length
    text = ""
    if (.not. c_associated(address)) return
    length = int(strlen(address))
    call c_f_pointer(address, letters, [length])
    do i = 1, length
      text = text // letters(i)
    end do
  end function

  ! The file in which the dynamic linker finds a symbol for everybody, by its real path and (KEY_as)
  ! by the one under which it was found.
  subroutine say_library(key, symbol)
    character(*), intent(in) :: key, symbol
    type(c_ptr) :: address, resolved
    type(dl_info) :: info
    address = dlsym(c_null_ptr, symbol // c_null_char)
    if (.not. c_associated(address)) return
    if (dladdr(address, info) == 0) return
    resolved = realpath(info%file, c_null_ptr)
    if (c_associated(resolved)) then
      call say(key, text_at(resolved))
    else
      call say(key, text_at(info%file))
    end if
    call say(key // "_as", text_at(info%file))
  end subroutine

  subroutine say_environment(name)
    character(*), intent(in) :: name
    character(4096) :: value
    call get_environment_variable(name, value)
    if (value /= "") call say("env_" // name, value)
  end subroutine

  subroutine say_openmp_runtimes()
    character(11), parameter :: names(6) = [character(11) :: "/libgomp.", "/libomp.", &
      "/libomp-", "/libiomp5.", "/libnvomp.", "/libcraymp."]
    character(4352) :: line, last
    integer :: unit, status, i, start
    last = ""
    open (newunit=unit, file="/proc/self/maps", action="read", status="old", iostat=status)
    if (status /= 0) return
    do
      read (unit, "(a)", iostat=status) line
      if (status /= 0) exit
      start = index(line, "/")
      if (start == 0) cycle
      do i = 1, size(names)
        if (index(line, trim(names(i))) > 0 .and. line(start:) /= last) then
          call say("openmp_runtime", line(start:))
          last = line(start:)
        end if
      end do
    end do
    close (unit)
  end subroutine

end module

#ifdef CELL_BLAS
#ifdef CELL_INT64
#define BLAS_INT int64
#else
#define BLAS_INT int32
#endif
#ifdef CELL_DGEMM
#define CELL_BIND(symbol) bind(c, name=symbol)
#else
#define CELL_BIND(symbol)
#define CELL_DGEMM "dgemm_"
#define CELL_DDOT "ddot_"
#define CELL_DPOTRF "dpotrf_"
#endif
module blas
  use readback
  implicit none

  interface
    subroutine dgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) CELL_BIND(CELL_DGEMM)
      import :: BLAS_INT, c_double, c_char
      character(kind=c_char), intent(in) :: ta, tb
      integer(BLAS_INT), intent(in) :: m, n, k, lda, ldb, ldc
      real(c_double), intent(in) :: alpha, beta, a(lda, *), b(ldb, *)
      real(c_double), intent(inout) :: c(ldc, *)
    end subroutine
    ! Lengths as pairs of 32 bits: see interface_bits.
    function ddot(n, x, incx, y, incy) CELL_BIND(CELL_DDOT) result(dot)
      import :: int32, c_double
      integer(int32), intent(in) :: n(2), incx(2), incy(2)
      real(c_double), intent(in) :: x(*), y(*)
      real(c_double) :: dot
    end function
#ifdef CELL_LAPACK
    subroutine dpotrf(uplo, n, a, lda, info) CELL_BIND(CELL_DPOTRF)
      import :: BLAS_INT, c_double, c_char
      character(kind=c_char), intent(in) :: uplo
      integer(BLAS_INT), intent(in) :: n, lda
      real(c_double), intent(inout) :: a(lda, *)
      integer(BLAS_INT), intent(out) :: info
    end subroutine
#endif
  end interface

contains

  ! A library with 32-bit integers sees the length 2; one with 64-bit integers a negative one, for
  ! which DDOT is defined as 0 and touches nothing. 0: neither, or the halves lie the other way.
  integer function interface_bits()
    real(c_double) :: x(2), dot
    integer(int32) :: words(2)
    interface_bits = 0
    words = transfer(1_int64, words)
    if (words(1) /= 1) return
    x = [3.0_c_double, 4.0_c_double]
    dot = ddot([2_int32, -1_int32], x, words, x, words)
    if (dot == 25.0_c_double) interface_bits = 32
    if (dot == 0.0_c_double) interface_bits = 64
  end function

  integer function dgemm_wrong(size)
    integer, intent(in) :: size
    real(c_double), allocatable :: a(:, :), b(:, :), c(:, :)
    integer(BLAS_INT) :: n
    integer :: i, j
    n = int(size, BLAS_INT)
    allocate (a(size, size), b(size, size), c(size, size))
    do j = 1, size
      do i = 1, size
        a(i, j) = real(modulo(i + 3*j, 7) - 3, c_double)
        b(i, j) = real(modulo(2*i + j, 5) - 2, c_double)
      end do
    end do
    c = -77.0_c_double
    call dgemm("N", "N", n, n, n, 1.0_c_double, a, n, b, n, 0.0_c_double, c, n)
    dgemm_wrong = 0
    do j = 1, size, 1 + size/8
      do i = 1, size, 1 + size/8
        if (sum(a(i, :)*b(:, j)) /= c(i, j)) dgemm_wrong = dgemm_wrong + 1
      end do
    end do
  end function

#ifdef CELL_LAPACK
  integer function dpotrf_wrong()
    real(c_double) :: a(2, 2)
    integer(BLAS_INT) :: n, info
    n = 2
    a = reshape([4.0_c_double, 2.0_c_double, 2.0_c_double, 5.0_c_double], [2, 2])
    call dpotrf("L", n, a, n, info)
    dpotrf_wrong = 0
    if (info /= 0 .or. a(1, 1) /= 2 .or. a(2, 1) /= 1 .or. a(2, 2) /= 2) dpotrf_wrong = 1
  end function
#endif

end module
#endif

program cell
  use readback
#ifdef CELL_BLAS
  use blas
#endif
#ifdef CELL_OPENMP
  use omp_lib
#endif
#ifdef CELL_MPI
  use mpi
#endif
  implicit none
  logical :: speaks
  integer :: wrong
#ifdef CELL_BLAS
  integer :: bits, program_bits
#endif
#ifdef CELL_MPI
  integer :: status, everybody
#endif
  speaks = .true.
#ifdef CELL_MPI
  call mpi_begin(speaks)
#endif
  if (speaks) call say("language", "fortran")
  wrong = arithmetic_wrong()
#ifdef CELL_BLAS
  if (speaks) then
    bits = interface_bits()
    program_bits = bit_size(int(0, BLAS_INT))
    call say_library("blas_library", CELL_DGEMM)
    call say_number("blas_integer_bits", bits)
    call say_number("program_integer_bits", program_bits)
    call say_environment("LD_LIBRARY_PATH")
    call say_environment("LD_PRELOAD")
    if (bits /= 0 .and. bits /= program_bits) then
      call say("answer", "not tried")
#ifdef CELL_MPI
      call MPI_Abort(MPI_COMM_WORLD, 2, status)
#endif
      stop 2
    end if
  end if
#endif
#ifdef CELL_OPENMP
  if (speaks) call say_team()
  wrong = wrong + openmp_wrong()
#endif
#ifdef CELL_BLAS
  wrong = wrong + dgemm_wrong(3) + dgemm_wrong(64)
#ifdef CELL_LAPACK
  wrong = wrong + dpotrf_wrong()
#endif
#endif
  if (speaks) call say_openmp_runtimes()
#ifdef CELL_MPI
  wrong = wrong + sum_wrong()
  call MPI_Allreduce(wrong, everybody, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, status)
  call MPI_Finalize(status)
  wrong = everybody
#endif
  if (speaks .and. wrong == 0) call say("answer", "right")
  if (speaks .and. wrong /= 0) call say("answer", "wrong")
  if (wrong /= 0) stop 1

contains

  ! Whole arrays, a fused multiply-add where -march allows one, an allocation and a character.
  integer function arithmetic_wrong()
    real(c_double), allocatable :: x(:), y(:)
    real(c_double) :: factor
    character(20) :: text
    integer :: i
    allocate (x(1024), y(1024))
    write (text, "(f4.1)") 3.0
    read (text, *) factor
    x = [(real(i - 1, c_double), i = 1, size(x))]
    y = factor*x + 1.0_c_double
    arithmetic_wrong = 0
    if (sum(y) /= factor*1023*512 + 1024) arithmetic_wrong = 1
    if (dot_product(x, y) /= factor*357389824 + 523776) arithmetic_wrong = 1
  end function

#ifdef CELL_OPENMP
  subroutine say_team()
    integer(c_long) :: seen(1024)
    integer :: team, count
    seen = 0
    team = 0
    count = 0
    !$omp parallel
    !$omp single
    team = omp_get_num_threads()
    !$omp end single
    !$omp critical
    if (count < size(seen) .and. .not. any(seen(:count) == pthread_self())) then
      count = count + 1
      seen(count) = pthread_self()
    end if
    !$omp end critical
    !$omp end parallel
    call say_number("openmp_team", team)
    call say_number("openmp_threads", count)
    call say_number("openmp_max", omp_get_max_threads())
    call say_number("openmp_version", openmp_version)
  end subroutine

  integer function openmp_wrong()
    integer(int64) :: total
    integer :: i
    total = 0
    !$omp parallel do reduction(+ : total)
    do i = 1, 100000
      total = total + i
    end do
    !$omp end parallel do
    openmp_wrong = 0
    if (total /= 5000050000_int64) openmp_wrong = 1
  end function
#endif

#ifdef CELL_MPI
  ! Every rank says which it is: with the launcher of another MPI each is the first of one.
  subroutine mpi_begin(first)
    logical, intent(out) :: first
    character(MPI_MAX_LIBRARY_VERSION_STRING) :: text
    integer :: status, rank, ranks, length, level
    call MPI_Init_thread(MPI_THREAD_FUNNELED, level, status)
    call MPI_Comm_rank(MPI_COMM_WORLD, rank, status)
    call MPI_Comm_size(MPI_COMM_WORLD, ranks, status)
    write (output_unit, "(a, i0, a, i0)") "cell rank ", rank, " of ", ranks
    flush (output_unit)
    first = rank == 0
    if (.not. first) return
    call MPI_Get_library_version(text, length, status)
    if (scan(text, c_new_line) > 0) text = text(:scan(text, c_new_line) - 1)
    call say("mpi_version", text)
    call say_library("mpi_library", "MPI_Init")
    call say_number("mpi_thread_level", level)
  end subroutine

  integer function sum_wrong()
    integer :: status, rank, ranks, total
    call MPI_Comm_rank(MPI_COMM_WORLD, rank, status)
    call MPI_Comm_size(MPI_COMM_WORLD, ranks, status)
    call MPI_Allreduce(rank + 1, total, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, status)
    sum_wrong = 0
    if (total /= ranks*(ranks + 1)/2) sum_wrong = 1
  end function
#endif

end program
