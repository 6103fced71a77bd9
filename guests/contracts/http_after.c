// http_after: ?lines=N&pause=MS (3, 0): answers "sent\n" whole, then goes on: writes "after 1" ... "after N" to stderr.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    long lines = query_number(request, "lines", 3);
    long pause = query_number(request, "pause", 0);
    reply_text(out, 200, "sent\n");
    errors_own_output_stream_t log = errors_get_stderr();
    for (long i = 1; i <= lines; i++) {
        char line[32];
        int size = snprintf(line, sizeof line, "after %ld\n", i);
        guest_list_u8_t bytes = {(uint8_t *)line, size};
        streams_stream_error_t error;
        pause_ms(pause);
        if (!streams_method_output_stream_blocking_write_and_flush(streams_borrow_output_stream(log), &bytes, &error)) return;
    }
}
