// http_no_response: returns without an answer.
// world: http
#include "guest.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    (void)request;
    (void)out;
}
