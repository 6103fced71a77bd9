// What the guests of `component:run` share: text in, text out.
#pragma once
#include "guest.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The guest's own function: called once with the args as a C string; what it returns was allocated and is the answer.
static char *answer(const char *args);

static inline char *format(const char *form, ...) {
    va_list values;
    va_start(values, form);
    int size = vsnprintf(NULL, 0, form, values);
    va_end(values);
    char *made = malloc(size + 1);
    va_start(values, form);
    vsnprintf(made, size + 1, form, values);
    va_end(values);
    return made;
}

void exports_run_run(guest_string_t *args, guest_string_t *ret) {
    char *copy = malloc(args->len + 1);
    memcpy(copy, args->ptr, args->len);
    copy[args->len] = 0;
    char *made = answer(copy);
    *ret = (guest_string_t){(uint8_t *)made, strlen(made)};
}
