// http_echo: streams the request's body and trailers back; x-method, x-path, x-authority and x-header-NAME say the rest.
// world: http
#include "http.h"

static const char *METHODS[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};

static void describe(http_borrow_incoming_request_t request, http_own_fields_t headers) {
    http_method_t method;
    http_method_incoming_request_method(request, &method);
    if (method.tag == HTTP_METHOD_OTHER)
        add_header(headers, "x-method", method.val.other.ptr, method.val.other.len);
    else
        add_header(headers, "x-method", METHODS[method.tag], strlen(METHODS[method.tag]));
    guest_string_t value;
    if (http_method_incoming_request_path_with_query(request, &value)) add_header(headers, "x-path", value.ptr, value.len);
    if (http_method_incoming_request_authority(request, &value)) add_header(headers, "x-authority", value.ptr, value.len);
    http_list_tuple2_field_name_field_value_t entries;
    http_own_fields_t received = http_method_incoming_request_headers(request);
    http_method_fields_entries(http_borrow_fields(received), &entries);
    for (size_t i = 0; i < entries.len; i++) {
        char name[256];
        snprintf(name, sizeof name, "x-header-%.*s", (int)entries.ptr[i].f0.len, (char *)entries.ptr[i].f0.ptr);
        add_header(headers, name, entries.ptr[i].f1.ptr, entries.ptr[i].f1.len);
    }
    http_fields_drop_own(received);
}

// The trailers as fields of our own, or false when there were none.
static bool copy_trailers(http_own_incoming_body_t body, http_own_trailers_t *copy) {
    http_own_future_trailers_t future = http_static_incoming_body_finish(body);
    poll_own_pollable_t ready = http_method_future_trailers_subscribe(http_borrow_future_trailers(future));
    poll_method_pollable_block(poll_borrow_pollable(ready));
    poll_pollable_drop_own(ready);
    http_result_result_option_own_trailers_error_code_void_t got;
    if (!http_method_future_trailers_get(http_borrow_future_trailers(future), &got)) __builtin_trap();
    if (got.is_err || got.val.ok.is_err || !got.val.ok.val.ok.is_some) return false;
    *copy = http_method_fields_clone(http_borrow_fields(got.val.ok.val.ok.val));
    return true;
}

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    http_own_fields_t headers = http_constructor_fields();
    describe(http_borrow_incoming_request(request), headers);
    http_own_incoming_body_t body;
    if (!http_method_incoming_request_consume(http_borrow_incoming_request(request), &body)) __builtin_trap();
    streams_own_input_stream_t input;
    if (!http_method_incoming_body_stream(http_borrow_incoming_body(body), &input)) __builtin_trap();

    reply_t reply = start_reply(out, 200, headers);
    guest_list_u8_t part;
    streams_stream_error_t error;
    while (streams_method_input_stream_blocking_read(streams_borrow_input_stream(input), 65536, &part, &error)) {
        if (!write_all(reply, part.ptr, part.len)) return;
        guest_list_u8_free(&part);
    }
    if (error.tag != STREAMS_STREAM_ERROR_CLOSED) __builtin_trap();
    streams_input_stream_drop_own(input);
    http_own_trailers_t trailers;
    finish_reply(reply, copy_trailers(body, &trailers) ? &trailers : NULL);
}
