// memory_bomb: takes and touches memory until it is refused more, then traps.
// world: run
#include "run.h"

static char *answer(const char *args) {
    (void)args;
    for (;;) {
        size_t page = __builtin_wasm_memory_grow(0, 16);
        if (page == (size_t)-1) __builtin_trap();
        memset((void *)(page * 65536), 1, 16 * 65536);
    }
}
