// Answers HTTP requests.
#include "function.h"

void handle(const request_t *request) {
    const char *name = request_query(request, "name");
    char *text;
    if (asprintf(&text, "Hello, %s!\n", name != NULL ? name : "world") < 0) abort();
    reply_text(200, text);
}
