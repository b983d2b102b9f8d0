/* Inputs that follow from a seed, in buffers between guard pages and canaries. */

/* splitmix64: G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators,
 * OOPSLA 2014. */
static uint64_t next(uint64_t *from)
{
    uint64_t z = (*from += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double unit(uint64_t *from)
{
    return (double)(next(from) >> 11) * 0x1p-53;
}

static size_t width(int type)
{
    return type == T_INT || type == T_FLOAT ? 4 : 8;
}

static void let_go(array_t *a)
{
    if (!a->map)
        return;
    UNPOISON(a->map, a->mapped);
    kernel(SYS_munmap, (long)a->map, (long)a->mapped, 0, 0);
    a->map = a->data = NULL;
}

static size_t inner(const array_t *a)
{
    return a->mapped - 2 * state->page;
}

static void allow(array_t *a, int how)
{
    protect(a->map + state->page, inner(a), how);
}

/* The data end as close to the guard page as their alignment allows; canaries fill the slack. */
static void obtain(array_t *a)
{
    size_t padded, room, page = state->page;
    a->bytes = (size_t)a->count * width(a->type);
    padded = (a->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    room = (padded + page - 1) / page * page;
    if (!room)
        room = page;
    a->mapped = room + 2 * page;
    a->map = mmap(NULL, a->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->map == MAP_FAILED)
        give_up("memory for an argument");
    allow(a, PROT_READ | PROT_WRITE);
    a->data = a->map + page + room - padded;
    memset(a->map + page, CANARY, (size_t)(a->data - a->map) - page);
    memset(a->data + a->bytes, CANARY, padded - a->bytes);
}

static int intact(array_t *a)
{
    const unsigned char *at = (const unsigned char *)a->map + state->page;
    const unsigned char *data = (const unsigned char *)a->data, *end = at + inner(a);
    UNPOISON(at, inner(a));
    for (; at < data; at++)
        if (*at != CANARY)
            return 0;
    for (at = data + a->bytes; at < end; at++)
        if (*at != CANARY)
            return 0;
    return 1;
}

static void fence(array_t *a)
{
    POISON(a->map + state->page, (size_t)(a->data - a->map) - state->page);
    POISON(a->data + a->bytes, (size_t)(a->map + state->page + inner(a) - (a->data + a->bytes)));
}

static void put(array_t *a, int64_t i, double value)
{
    switch (a->type) {
    case T_INT: ((int32_t *)a->data)[i] = (int32_t)value; break;
    case T_LONG: ((int64_t *)a->data)[i] = (int64_t)value; break;
    case T_FLOAT: ((float *)a->data)[i] = (float)value; break;
    default: ((double *)a->data)[i] = value;
    }
}

static int64_t whole(const array_t *a, int64_t i)
{
    return a->type == T_INT ? ((const int32_t *)a->data)[i] : ((const int64_t *)a->data)[i];
}

static double drawn(const array_t *a, uint64_t *from, int variant)
{
    double value = a->kind == CONSTANT ? a->low : a->low + (a->high - a->low) * unit(from);
    if (a->type == T_INT || a->type == T_LONG)
        return floor(value);
    if (variant & SUBNORMAL)
        return value * (a->type == T_FLOAT ? 0x1p-130 : 0x1p-1030);
    return value;
}

static void fill_columns(array_t *a, uint64_t *from)
{
    const array_t *offsets = &state->arrays[a->offsets];
    int64_t row, k, first, count;
    for (row = 0; row + 1 < offsets->count; row++) {
        first = whole(offsets, row);
        count = whole(offsets, row + 1) - first;
        for (k = 0; k < count; k++)
            put(a, first + k, floor(((double)k + unit(from)) * (double)a->bound / (double)count));
    }
}

static void fill_offsets(array_t *a, uint64_t *from)
{
    int64_t i, rows = a->count - 1;
    for (i = 0; i < a->count; i++) {
        double at = rows > 0 ? (double)i : 0.0;
        if (i > 0 && i < rows)
            at += unit(from) - 0.5; /* rows differ in length */
        put(a, i, rows > 0 ? floor(at * (double)a->bound / (double)rows) : 0.0);
    }
}

static void fill(array_t *a, uint64_t seed, int variant)
{
    uint64_t from = seed;
    int64_t i;
    next(&from);
    if (a->intent == OUT) {
        for (i = 0; i < a->count; i++)
            put(a, i, a->type == T_INT || a->type == T_LONG ? 1515870810.0 : (double)NAN);
        return;
    }
    if (a->kind == CSR_OFFSETS) {
        fill_offsets(a, &from);
    } else if (a->kind == CSR_COLUMNS) {
        fill_columns(a, &from);
    } else {
        for (i = 0; i < a->count; i++)
            put(a, i, drawn(a, &from, variant));
        if ((variant & NOT_A_NUMBER) && a->count && a->type != T_INT && a->type != T_LONG)
            put(a, (int64_t)(next(&from) % (uint64_t)a->count), (double)NAN);
    }
}

/* Numbers are the same on all ranks, arrays differ. */
static uint64_t seed_of(uint64_t seed, int index, int of_rank)
{
    uint64_t from = seed ^ ((uint64_t)(index + 1) << 48) ^ ((uint64_t)of_rank << 40);
    return next(&from);
}

static array_t *in_place(int index, int alias)
{
    array_t *arrays = state->arrays;
    return alias && index == aliases[alias - 1][1] ? &arrays[aliases[alias - 1][0]] : &arrays[index];
}

/* Nobody sees the inputs before the clock runs: a thread that was left could work ahead. */
static void prepare(void)
{
    int i, pass, alias = state->variant >> ALIAS_SHIFT;
    array_t *arrays = state->arrays;
    for (i = 0; i < ARRAYS; i++)
        let_go(&arrays[i]);
    for (i = 0; i < ARRAYS; i++)
        obtain(&arrays[i]);
    for (pass = 0; pass < 2; pass++) /* what only comes out first: inputs may lie in its place */
        for (i = 0; i < ARRAYS; i++)
            if ((arrays[i].intent == OUT) == (pass == 0)) {
                array_t kept = *in_place(i, alias);
                kept.intent = arrays[i].intent;
                kept.kind = arrays[i].kind;
                kept.low = arrays[i].low, kept.high = arrays[i].high;
                kept.offsets = arrays[i].offsets, kept.bound = arrays[i].bound;
                fill(&kept, seed_of(state->seed, i, state->rank), state->variant);
            }
    for (i = 0; i < ARRAYS; i++) {
        fence(&arrays[i]);
        allow(&arrays[i], PROT_NONE);
    }
}

/* Inputs may only be read while the function works. */
static void open_up(void)
{
    int i, alias = state->variant >> ALIAS_SHIFT;
    for (i = 0; i < ARRAYS; i++) {
        int shared = alias && (aliases[alias - 1][0] == i || aliases[alias - 1][1] == i);
        int reads = state->arrays[i].intent == IN && !shared;
        allow(&state->arrays[i], reads ? PROT_READ : PROT_READ | PROT_WRITE);
    }
}

/* What has come out may be written no more. */
static void shut(void)
{
    int i;
    for (i = 0; i < ARRAYS; i++)
        allow(&state->arrays[i], PROT_READ);
}
