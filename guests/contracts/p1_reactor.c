// p1_reactor: a WASI preview 1 core module with embedded component types: the run contract through libc's stdio and files.
// world: run module
// Its args name a file: it says so on stdout and returns what the file holds.
#include "run.h"
#include <errno.h>

static char *answer(const char *args) {
    printf("reading %s\n", args);
    fflush(stdout);
    FILE *file = fopen(args, "r");
    if (file == NULL) return format("error: %s", strerror(errno));
    char *content = calloc(1, 65536);
    fread(content, 1, 65535, file);
    return content;
}
