// http_hello: the bench's hello; 200, text/plain, "Hello, World!\n", by the fewest calls that a careful guest makes.
// world: http
#include "guest.h"

#define BYTES(literal) {(uint8_t *)literal, sizeof(literal) - 1}

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    (void)request;  // dropped with the instance
    http_tuple2_field_name_field_value_t content_type = {BYTES("content-type"), BYTES("text/plain")};
    http_list_tuple2_field_name_field_value_t entries = {&content_type, 1};
    http_own_fields_t headers;
    http_header_error_t header_error;
    if (!http_static_fields_from_list(&entries, &headers, &header_error)) __builtin_trap();

    http_own_outgoing_response_t response = http_constructor_outgoing_response(headers);
    http_own_outgoing_body_t body;
    if (!http_method_outgoing_response_body(http_borrow_outgoing_response(response), &body)) __builtin_trap();
    http_result_own_outgoing_response_error_code_t result = {.is_err = false, .val.ok = response};
    http_static_response_outparam_set(out, &result);

    http_own_output_stream_t stream;
    if (!http_method_outgoing_body_write(http_borrow_outgoing_body(body), &stream)) __builtin_trap();
    guest_list_u8_t bytes = BYTES("Hello, World!\n");
    streams_stream_error_t stream_error;
    streams_method_output_stream_blocking_write_and_flush(streams_borrow_output_stream(stream), &bytes, &stream_error);
    streams_output_stream_drop_own(stream);
    http_error_code_t error;
    http_static_outgoing_body_finish(body, NULL, &error);
}
