// handles_flood: opens handles and keeps them: pollables, or header fields when its args say "fields". Ends when a call traps.
// world: run
#include "run.h"

static char *answer(const char *args) {
    bool fields = strcmp(args, "fields") == 0;
    for (;;) {
        if (fields)
            http_constructor_fields();
        else
            monotonic_subscribe_duration(0);
    }
}
