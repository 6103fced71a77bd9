// http_bad_length: says content-length 10 and sends 4 bytes; ?size=N sends N, ?leave=1 returns without ending the body.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    long size = query_number(request, "size", 4);
    http_own_fields_t headers = http_constructor_fields();
    add_header(headers, "content-length", "10", 2);
    reply_t reply = start_reply(out, 200, headers);
    for (long i = 0; i < size; i++)
        if (!write_all(reply, "x", 1)) return;
    if (query_number(request, "leave", 0) == 0) finish_reply(reply, NULL);
}
