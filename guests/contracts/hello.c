// hello: the run contract; greets its args.
// world: run
#include "run.h"

static char *answer(const char *args) { return format("Hello, %s!", args); }
