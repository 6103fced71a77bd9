// spin: never ends, never calls its host.
// world: run
#include "run.h"

static char *answer(const char *args) {
    volatile unsigned long turns = 0;
    for (;;) turns++;
    return (char *)args;
}
