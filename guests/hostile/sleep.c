// sleep: waits as many milliseconds as its args say, then returns "awake".
// world: run
#include "run.h"

static char *answer(const char *args) {
    poll_own_pollable_t timer = monotonic_subscribe_duration(strtoull(args, NULL, 10) * 1000000);
    poll_method_pollable_block(poll_borrow_pollable(timer));
    return format("awake");
}
