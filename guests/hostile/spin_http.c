// spin_http: a handler that never ends, never calls its host; ?head=1 sends its response head first.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    if (query_number(request, "head", 0)) start_reply(out, 200, http_constructor_fields());
    volatile unsigned long turns = 0;
    for (;;) turns++;
}
