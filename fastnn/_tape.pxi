# The recorded list under rewriting: its operations, and which of them names which block of the step. The rules of fusion
# (_fusion.pxi, _fusion_gradient.pxi, _fusion_step.pxi) and the plan of places (_places.pxi) work on it.

from bisect import bisect_left, insort

# Of each family: how many words its args begin with may be pointers, and how many of them are of what it writes (those not const).
_POINTERS = {"gemm": (6, 2), "dense": (10, 5), "conv": (13, 7), "elem": (5, 2), "reduce": (3, 2), "copy": (3, 2), "index": (4 + FN_DIMS, 3),
             "softmax": (4, 2), "norm": (14, 9), "layer_norm": (10, 6), "loss": (12, 7), "random": (4, 2), "dropout": (5, 3), "pool2d": (7, 5)}


cdef inline int64_t _block(uint64_t name) noexcept:
    return <int64_t>((name & ~_NAMED) >> 40)


cdef inline bint _begins(uint64_t name) noexcept:
    """Does it name the beginning of a block?"""
    return name & _NAMED and name & ((<uint64_t>1 << 40) - 1) == 0


cdef class Op:
    """One call of a recording. Pointers into blocks of the step are names."""
    cdef int op, dtype
    cdef double work
    cdef bytearray args
    cdef int pointers, writes            # -1: of a family that is not in the table, any word may be a pointer to what is written
    cdef object at                       # the words that hold names

    def __init__(self, int op, int dtype, double work, args, at):
        self.op, self.dtype, self.work, self.args, self.at = op, dtype, work, bytearray(args), at
        self.pointers, self.writes = _POINTERS.get(fn_ops[op].family.decode(), (-1, -1))

    cdef uint64_t *words(self) except NULL:
        return <uint64_t *><char *>self.args

    cdef set blocks(self):
        cdef uint64_t *w = self.words()
        return {_block(w[i]) for i in self.at}

    cdef bint touches(self, int64_t b) except -1:
        """May it write to block b?"""
        cdef uint64_t *w = self.words()
        for i in self.at:
            if _block(w[<int>i]) == b and (self.writes < 0 or i < self.writes):
                return True
        return False

    cdef int renamed(self) except -1:
        """The rule that changed its pointers is done."""
        cdef uint64_t *w = self.words()
        self.at = [i for i in range(self.pointers) if w[<int>i] & _NAMED]
        return 0


cdef class Tape:
    """A recorded list under rewriting, and who names what."""
    cdef list ops                        # Op, or None where one fell away
    cdef list uses                       # of each block: the places in the list that name it, in order
    cdef list bytes                      # of each block
    cdef set seen                        # blocks that are seen from outside: in the end they hold what the step left there

    def __init__(self, list calls, list bytes, set seen):
        self.ops, self.bytes, self.seen = [Op(*c) for c in calls], list(bytes), seen
        self.index()

    cdef int index(self) except -1:
        """Find the uses anew."""
        cdef int64_t i
        self.uses = [[] for _ in self.bytes]
        for i in range(len(self.ops)):
            if self.ops[i] is not None:
                for b in (<Op>self.ops[i]).blocks():
                    self.uses[b].append(i)
        return 0

    cdef int64_t new_block(self, int64_t nbytes) except -1:
        self.uses.append([])
        self.bytes.append(nbytes)
        return len(self.bytes) - 1

    cdef int leave(self, int64_t i) except -1:
        for b in (<Op>self.ops[i]).blocks():
            self.uses[b].remove(i)
        return 0

    cdef int enter(self, int64_t i, Op o) except -1:
        self.ops[i] = o
        if o is not None:
            for b in o.blocks():
                insort(self.uses[b], i)
        return 0

    cdef int drop(self, int64_t i) except -1:
        self.leave(i)
        self.ops[i] = None
        return 0

    cdef int64_t before(self, int64_t b, int64_t i) except -2:
        """The last use of block b before place i, or -1."""
        k = bisect_left(self.uses[b], i)
        return self.uses[b][k - 1] if k else -1

    cdef bint only(self, int64_t b, list places) except -1:
        """Do these alone know b?"""
        return b not in self.seen and self.uses[b] == places

    cdef bint first(self, int64_t b, int64_t i) except -1:
        """Is b first named at place i?"""
        return len(self.uses[b]) > 0 and self.uses[b][0] == i

    cdef int64_t last(self, int64_t b) except -1:
        return self.uses[b][len(self.uses[b]) - 1]

    cdef bint written(self, int64_t b, int64_t after, int64_t until) except -1:
        """Is b written in after+1 .. until?"""
        for i in self.uses[b]:
            if after < i <= until and (<Op>self.ops[i]).touches(b):
                return True
        return False

    cdef int rename(self, int64_t b, int64_t c, int64_t start, int64_t stop) except -1:
        """Block b is c in places start .. stop-1."""
        cdef Op o
        cdef uint64_t *w
        for i in [i for i in self.uses[b] if start <= i < stop]:
            o = self.ops[i]
            self.leave(i)
            w = o.words()
            for k in o.at:
                if _block(w[<int>k]) == b:
                    w[<int>k] += <uint64_t>(c - b) << 40
            self.enter(i, o)
        return 0
