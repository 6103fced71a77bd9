// http_slow_reader: ?size=BYTES&pause=MS (1024, 10): reads its body so much at a time with pauses, answers with the length.
// world: http
#include "http.h"

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    long size = query_number(request, "size", 1024);
    long pause = query_number(request, "pause", 10);
    http_own_incoming_body_t body;
    streams_own_input_stream_t input;
    if (!http_method_incoming_request_consume(http_borrow_incoming_request(request), &body)) __builtin_trap();
    if (!http_method_incoming_body_stream(http_borrow_incoming_body(body), &input)) __builtin_trap();
    unsigned long total = 0;
    guest_list_u8_t part;
    streams_stream_error_t error;
    while (streams_method_input_stream_blocking_read(streams_borrow_input_stream(input), size, &part, &error)) {
        total += part.len;
        guest_list_u8_free(&part);
        pause_ms(pause);
    }
    char length[32];
    snprintf(length, sizeof length, "%lu", total);
    reply_text(out, 200, length);
}
