// big_answer: returns a string of as many bytes as its args say.
// world: run
#include "run.h"

static char *answer(const char *args) {
    size_t size = strtoul(args, NULL, 10);
    char *made = malloc(size + 1);
    if (made == NULL) __builtin_trap();
    memset(made, 'x', size);
    made[size] = 0;
    return made;
}
