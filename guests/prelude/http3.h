// What the guests of `wasi:http` 0.3 share: a response whose body goes on after its head was returned.
#pragma once
#include "async.h"

typedef http_future_result_option_own_trailers_error_code_t trailers_t;
typedef http_future_result_option_own_trailers_error_code_writer_t trailers_writer_t;

// A response whose head is returned and whose body is open.
typedef struct {
    http_stream_u8_writer_t body;
    trailers_writer_t trailers;
} reply_t;

static inline void add_header(http_own_fields_t fields, const char *name, const void *value, size_t size) {
    guest_string_t key = {(uint8_t *)name, strlen(name)};
    http_field_value_t bytes = {(uint8_t *)value, size};
    http_header_error_t error;
    if (!http_method_fields_append(http_borrow_fields(fields), &key, &bytes, &error)) __builtin_trap();
}

// Returns the head to the caller: status and headers (owned).
static inline reply_t start_reply(uint16_t status, http_own_fields_t headers) {
    reply_t reply;
    http_stream_u8_t body = http_stream_u8_new(&reply.body);
    trailers_t trailers = http_future_result_option_own_trailers_error_code_new(&reply.trailers);
    http_tuple2_own_response_future_result_void_error_code_t made;
    http_static_response_new(headers, &body, trailers, &made);
    if (status != 200 && !http_method_response_set_status_code(http_borrow_response(made.f0), status)) __builtin_trap();
    http_future_result_void_error_code_drop_readable(made.f1);  // nobody here asks whether it was transmitted
    exports_handler_result_own_response_error_code_t result = {.is_err = false, .val.ok = made.f0};
    exports_handler_handle_return(result);
    return reply;
}

// Writes it all, waiting as needed; false when the other side is gone.
static inline bool write_all(reply_t reply, const uint8_t *from, size_t size) {
    while (size > 0) {
        guest_waitable_status_t status = settle(reply.body, http_stream_u8_write(reply.body, from, size));
        from += GUEST_WAITABLE_COUNT(status);
        size -= GUEST_WAITABLE_COUNT(status);
        if (GUEST_WAITABLE_STATE(status) != GUEST_WAITABLE_COMPLETED) return size == 0;
    }
    return true;
}

// Ends the body. Trailers may be null.
static inline void finish_reply(reply_t reply, http_own_trailers_t *trailers) {
    http_result_option_own_trailers_error_code_t end = {.is_err = false};
    end.val.ok.is_some = trailers != NULL;
    if (trailers != NULL) end.val.ok.val = *trailers;
    http_stream_u8_drop_writable(reply.body);
    settle(reply.trailers, http_future_result_option_own_trailers_error_code_write(reply.trailers, &end));
    http_future_result_option_own_trailers_error_code_drop_writable(reply.trailers);
}

// Guests wait on their own stack, so the task is never resumed by its callback.
guest_callback_code_t exports_handler_handle_callback(guest_event_t *event) {
    (void)event;
    __builtin_trap();
}
