// What the guests of `wasi:http` 0.2 share: response heads, body streams, the query.
#pragma once
#include "guest.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A response whose head is sent and whose body is open.
typedef struct {
    http_own_outgoing_body_t body;
    streams_own_output_stream_t stream;
} reply_t;

static inline guest_string_t text(const char *from) { return (guest_string_t){(uint8_t *)from, strlen(from)}; }

static inline void add_header(http_own_fields_t fields, const char *name, const void *value, size_t size) {
    guest_string_t key = text(name);
    http_field_value_t bytes = {(uint8_t *)value, size};
    http_header_error_t error;
    if (!http_method_fields_append(http_borrow_fields(fields), &key, &bytes, &error)) __builtin_trap();
}

// Sends the head: status and headers (owned). Every guest's answer begins here.
static inline reply_t start_reply(http_own_response_outparam_t out, uint16_t status, http_own_fields_t headers) {
    reply_t reply;
    http_own_outgoing_response_t response = http_constructor_outgoing_response(headers);
    http_borrow_outgoing_response_t borrowed = http_borrow_outgoing_response(response);
    if (status != 200 && !http_method_outgoing_response_set_status_code(borrowed, status)) __builtin_trap();
    if (!http_method_outgoing_response_body(borrowed, &reply.body)) __builtin_trap();
    http_result_own_outgoing_response_error_code_t result = {.is_err = false, .val.ok = response};
    http_static_response_outparam_set(out, &result);
    if (!http_method_outgoing_body_write(http_borrow_outgoing_body(reply.body), &reply.stream)) __builtin_trap();
    return reply;
}

// Writes it all, waiting as needed; false when the other side is gone.
static inline bool write_all(reply_t reply, const void *data, size_t size) {
    const uint8_t *from = data;
    while (size > 0) {
        size_t part = size < 4096 ? size : 4096;  // the most that one blocking write may carry
        guest_list_u8_t bytes = {(uint8_t *)from, part};
        streams_stream_error_t error;
        streams_borrow_output_stream_t stream = streams_borrow_output_stream(reply.stream);
        if (!streams_method_output_stream_blocking_write_and_flush(stream, &bytes, &error)) return false;
        from += part;
        size -= part;
    }
    return true;
}

// Ends the body. Trailers may be null.
static inline bool finish_reply(reply_t reply, http_own_trailers_t *trailers) {
    http_error_code_t error;
    streams_output_stream_drop_own(reply.stream);
    return http_static_outgoing_body_finish(reply.body, trailers, &error);
}

static inline void reply_text(http_own_response_outparam_t out, uint16_t status, const char *body) {
    reply_t reply = start_reply(out, status, http_constructor_fields());
    write_all(reply, body, strlen(body));
    finish_reply(reply, NULL);
}

// The value of a query parameter as an allocated string (as it stands, nothing decoded), or null.
static inline char *query(http_own_incoming_request_t request, const char *name) {
    guest_string_t path;
    if (!http_method_incoming_request_path_with_query(http_borrow_incoming_request(request), &path)) return NULL;
    char *copy = strndup((char *)path.ptr, path.len);
    char *at = strchr(copy, '?');
    size_t size = strlen(name);
    while (at != NULL) {
        at += 1;
        if (strncmp(at, name, size) == 0 && at[size] == '=') {
            char *value = at + size + 1;
            value[strcspn(value, "&")] = 0;
            return value;
        }
        at = strchr(at, '&');
    }
    return NULL;
}

static inline long query_number(http_own_incoming_request_t request, const char *name, long otherwise) {
    char *value = query(request, name);
    return value != NULL ? atol(value) : otherwise;
}

static inline void pause_ms(long milliseconds) {
    if (milliseconds <= 0) return;
    poll_own_pollable_t timer = monotonic_subscribe_duration((uint64_t)milliseconds * 1000000);
    poll_method_pollable_block(poll_borrow_pollable(timer));
    poll_pollable_drop_own(timer);
}
