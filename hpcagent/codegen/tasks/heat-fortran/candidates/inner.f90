! The grids take turns, and the boundary is no question inside of the loop.
program heat
  use, intrinsic :: iso_fortran_env, only: real64, int64
  use mpi
  implicit none
  integer :: rank, ranks, ierr, rows, cols, steps, first, count, below, above, s, r, file
  integer, allocatable :: counts(:), starts(:)
  real(real64) :: c
  real(real64), allocatable :: whole(:, :), u(:, :), v(:, :), other(:, :)
  character(len=200) :: word(6)

  call MPI_Init(ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  call MPI_Comm_size(MPI_COMM_WORLD, ranks, ierr)
  if (command_argument_count() /= 6) call MPI_Abort(MPI_COMM_WORLD, 2, ierr)
  do r = 1, 6
    call get_command_argument(r, word(r))
  end do
  read (word(1), *) rows
  read (word(2), *) cols
  read (word(3), *) steps
  read (word(4), *) c
  first = first_row(rank)
  count = first_row(rank + 1) - first
  below = neighbour(-1)
  above = neighbour(1)
  allocate (counts(0:ranks - 1), starts(0:ranks - 1))
  do r = 0, ranks - 1
    starts(r) = first_row(r)*cols
    counts(r) = first_row(r + 1)*cols - starts(r)
  end do
  allocate (whole(cols, merge(rows, 0, rank == 0)), u(cols, 0:count + 1), v(cols, 0:count + 1))
  u = 0
  v = 0
  if (rank == 0) then
    open (newunit=file, file=trim(word(5)), access="stream", form="unformatted", status="old")
    read (file) whole
    close (file)
  end if
  call MPI_Scatterv(whole, counts, starts, MPI_DOUBLE_PRECISION, u(1, 1), counts(rank), &
    MPI_DOUBLE_PRECISION, 0, MPI_COMM_WORLD, ierr)
  do s = 1, steps
    if (count > 0) then
      call MPI_Sendrecv(u(1, count), cols, MPI_DOUBLE_PRECISION, above, 0, u(1, 0), cols, &
        MPI_DOUBLE_PRECISION, below, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE, ierr)
      call MPI_Sendrecv(u(1, 1), cols, MPI_DOUBLE_PRECISION, below, 1, u(1, count + 1), cols, &
        MPI_DOUBLE_PRECISION, above, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE, ierr)
    end if
    call advance()
    call move_alloc(u, other)
    call move_alloc(v, u)
    call move_alloc(other, v)
  end do
  call MPI_Gatherv(u(1, 1), counts(rank), MPI_DOUBLE_PRECISION, whole, counts, starts, &
    MPI_DOUBLE_PRECISION, 0, MPI_COMM_WORLD, ierr)
  if (rank == 0) then
    open (newunit=file, file=trim(word(6)), access="stream", form="unformatted", status="replace")
    write (file) whole
    close (file)
  end if
  call MPI_Finalize(ierr)

contains

  ! The first row of a rank (from 0).
  integer function first_row(of)
    integer, intent(in) :: of
    first_row = int(int(rows, int64)*of/ranks)
  end function first_row

  ! The nearest rank in a direction that has any rows.
  integer function neighbour(direction)
    integer, intent(in) :: direction
    neighbour = rank + direction
    do while (neighbour >= 0 .and. neighbour < ranks)
      if (first_row(neighbour + 1) > first_row(neighbour)) return
      neighbour = neighbour + direction
    end do
    neighbour = MPI_PROC_NULL
  end function neighbour

  subroutine advance()
    integer :: i, j
    do i = 1, count
      if (first + i == 1 .or. first + i == rows .or. cols < 3) then
        v(:, i) = u(:, i)
        cycle
      end if
      v(1, i) = u(1, i)
      do concurrent(j=2:cols - 1)
        v(j, i) = u(j, i) + c*(u(j, i - 1) + u(j, i + 1) + u(j - 1, i) + u(j + 1, i) - 4*u(j, i))
      end do
      v(cols, i) = u(cols, i)
    end do
  end subroutine advance
end program heat
