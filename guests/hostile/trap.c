// trap: traps below outer_call, middle_call and inner_call, which its backtrace must name.
// world: run
#include "run.h"

__attribute__((noinline)) static unsigned inner_call(volatile unsigned *count) {
    if (*count > 0) __builtin_trap();
    return *count + 1;
}

__attribute__((noinline)) static unsigned middle_call(volatile unsigned *count) { return inner_call(count) + *count; }

__attribute__((noinline)) static unsigned outer_call(volatile unsigned *count) { return middle_call(count) + *count; }

static char *answer(const char *args) {
    volatile unsigned count = strlen(args) + 1;
    return format("%u", outer_call(&count));
}
