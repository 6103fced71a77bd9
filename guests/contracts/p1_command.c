// p1_command: a WASI preview 1 command, as any toolchain makes it: prints its args, environment and stdin; --exit N ends with N.
// world: none module command
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(int count, char **args) {
    int code = 0;
    for (int i = 1; i < count; i++) {
        printf("arg %s\n", args[i]);
        if (strcmp(args[i], "--exit") == 0 && i + 1 < count) code = atoi(args[i + 1]);
    }
    for (char **variable = environ; *variable != NULL; variable++) printf("env %s\n", *variable);
    char part[4096];
    size_t size;
    while ((size = fread(part, 1, sizeof part, stdin)) > 0) fwrite(part, 1, size, stdout);
    fprintf(stderr, "exit %d\n", code);
    return code;
}
