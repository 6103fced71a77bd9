// http_flood: a response body without end.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    (void)request;
    reply_t reply = start_reply(out, 200, http_constructor_fields());
    static char part[65536];
    memset(part, 'x', sizeof part);
    while (write_all(reply, part, sizeof part)) {
    }
}
