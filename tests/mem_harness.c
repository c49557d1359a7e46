/* A thread that is nearly always inside the pool, for test_mem.py. */
#include "fn.h"

void churn(fn_pool *p, volatile int *stop) {
    while (!*stop) {
        void *a = fn_alloc(p, 5000), *b = fn_alloc(p, 100000);
        fn_free(a);
        fn_free(b);
    }
}
