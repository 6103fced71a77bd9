// http_trap: traps before its answer; ?head=1 after its response head and a part of the body.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    if (query_number(request, "head", 0)) write_all(start_reply(out, 200, http_constructor_fields()), "part", 4);
    __builtin_trap();
}
