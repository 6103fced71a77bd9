// http_bodies: fills the bodies of responses that it never sends, ?size=N bytes each, by default 256 KiB, until a call traps.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    long size = query_number(request, "size", 256 << 10);
    (void)out;
    for (;;) {
        http_own_outgoing_response_t response = http_constructor_outgoing_response(http_constructor_fields());
        reply_t reply;
        if (!http_method_outgoing_response_body(http_borrow_outgoing_response(response), &reply.body)) return;
        if (!http_method_outgoing_body_write(http_borrow_outgoing_body(reply.body), &reply.stream)) return;
        for (long i = 0; i < size; i += 4096)
            if (!write_all(reply, (uint8_t[4096]){0}, 4096)) return;
        finish_reply(reply, NULL);
    }
}
