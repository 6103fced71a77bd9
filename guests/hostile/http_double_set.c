// http_double_set: answers twice through the same outparam, which is gone after the first time.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    (void)request;
    reply_text(out, 200, "once");
    reply_text(out, 200, "twice");
}
