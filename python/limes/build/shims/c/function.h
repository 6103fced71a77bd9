// What a C function includes. It defines one of
//
//     char *run(const char *args);            text to text; what is returned was allocated, or is static
//     void handle(const request_t *request);  answers an HTTP request, by reply() or by begin, write_part and end
//     int main(int argc, char **argv);        a command
//
// The rest of WASI 0.2 is there under the names of wit-bindgen: see guest.h, which is generated.
#pragma once
#include "guest.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A request. Strings live as long as the instance, that is as long as the request.
typedef struct {
    const char *method;  // "GET"
    const char *path;    // path and query, as they came
    const uint8_t *body;
    size_t size;         // bytes of the body
} request_t;

char *run(const char *args);
void handle(const request_t *request);

// The value of a header field of the request as a string, or null.
const char *request_header(const request_t *request, const char *name);
// The value of a query parameter as it came (nothing is decoded), or null.
const char *request_query(const request_t *request, const char *name);

// Answers with a whole body; text for people when type is null.
void reply(int status, const char *type, const void *body, size_t size);
// The same for a string.
void reply_text(int status, const char *text);

// Answers in parts: the head, then parts, which leave as they are written, then the end.
void begin(int status, const char *type);
// False when the client is gone.
bool write_part(const void *data, size_t size);
void end(void);
