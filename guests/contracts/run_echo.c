// run_echo: the run contract; returns its args.
// world: run
#include "run.h"

static char *answer(const char *args) { return (char *)args; }
