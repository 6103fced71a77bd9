// http_never: waits for a time that does not come; ?head=1 sends its response head first.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    if (query_number(request, "head", 0)) start_reply(out, 200, http_constructor_fields());
    poll_own_pollable_t never = monotonic_subscribe_duration(UINT64_MAX);
    poll_method_pollable_block(poll_borrow_pollable(never));
}
