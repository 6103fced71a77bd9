// http_stream: ?chunks=N&size=BYTES&pause=MS (3, 8, 0): that many chunks, each flushed, each a line beginning with its number.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    long chunks = query_number(request, "chunks", 3);
    long size = query_number(request, "size", 8);
    long pause = query_number(request, "pause", 0);
    if (size < 8) size = 8;
    reply_t reply = start_reply(out, 200, http_constructor_fields());
    char *line = malloc(size);
    for (long i = 0; i < chunks; i++) {
        if (i > 0) pause_ms(pause);
        char number[8];
        snprintf(number, sizeof number, "%06ld", i % 1000000);
        memset(line, '.', size);
        memcpy(line, number, 6);
        line[size - 1] = '\n';
        if (!write_all(reply, line, size)) return;
    }
    finish_reply(reply, NULL);
}
