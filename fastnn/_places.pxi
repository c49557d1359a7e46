# Where the temporaries of a program lie: each in the lowest gap between those that live at the same time.

cdef enum: _TRIES = 8

cdef struct _span:
    int64_t bytes, begin, end, at        # lives from the operation `begin` to `end`; lies from `at` on


cdef int64_t _place(_span *s, int64_t n, int64_t *order, int64_t *sorted_) noexcept nogil:
    """Places the spans in the given order, each in the lowest gap between those that live at the same time; returns the bytes of all."""
    cdef int64_t i, k, m, high = 0, at, behind
    cdef _span *one
    cdef _span *other
    for i in range(n):
        one = s + order[i]
        at = 0
        k = 0
        while k < i:
            other = s + sorted_[k]
            if other.begin <= one.end and one.begin <= other.end:
                if other.at >= at + one.bytes:
                    break
                if other.at + other.bytes > at:
                    at = other.at + other.bytes
            k += 1
        one.at = at
        m = i                            # sorted_ holds what is placed, by place
        while m > 0 and s[sorted_[m - 1]].at > at:
            sorted_[m] = sorted_[m - 1]
            m -= 1
        sorted_[m] = order[i]
        if at + one.bytes > high:
            high = at + one.bytes
    return high


cdef tuple plan(Tape t):
    """({block: its place}, bytes of all places, bytes alive at the worst moment) for the blocks that nobody sees from outside."""
    cdef list blocks = [b for b in range(len(t.bytes)) if t.uses[b] and b not in t.seen]
    cdef int64_t n = len(blocks), i, need, best = 0, live = 0, most = 0, size
    cdef list delta = [0] * (len(t.ops) + 1)
    if not n:
        return {}, 0, 0
    cdef _span *s = <_span *>malloc(n * sizeof(_span))
    cdef int64_t *order = <int64_t *>malloc(2 * n * sizeof(int64_t))
    try:
        if s == NULL or order == NULL:
            raise MemoryError("fastnn: no memory to plan a captured program")
        for i in range(n):
            uses = t.uses[blocks[i]]
            # odd multiples of a line keep equal places of neighbours out of one set of the cache, as in mem.c
            size = (<int64_t>t.bytes[blocks[i]] + 63) // 64 * 64
            size = max(size, <int64_t>64) if size <= 32768 else (size + 2111) // 2112 * 2112
            s[i].bytes, s[i].begin, s[i].end = size, uses[0], t.last(blocks[i])
            delta[s[i].begin] += size
            delta[s[i].end + 1] -= size
        for d in delta:
            live += d
            most = max(most, live)
        # the large ones first; if that leaves gaps, as they come, and by the room they take in space and time
        for keys in ([(-s[i].bytes, s[i].begin) for i in range(n)], [(s[i].begin, -s[i].bytes) for i in range(n)],
                     [(-s[i].bytes * (s[i].end - s[i].begin + 1), 0) for i in range(n)]):
            trial = sorted(range(n), key=keys.__getitem__)
            for _ in range(_TRIES):      # and then what came to lie highest before all others
                for i, k in enumerate(trial):
                    order[i] = k
                need = _place(s, n, order, order + n)
                if best == 0 or need < best:
                    best, places = need, {blocks[i]: s[i].at for i in range(n)}
                if best == most:
                    return places, best, most
                for i in range(n):
                    if s[i].at + s[i].bytes == need:
                        trial.remove(i)
                        trial.insert(0, i)
                        break
        return places, best, most
    finally:
        free(s)
        free(order)
