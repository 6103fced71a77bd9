// http_methods: calls every method of wasi:http/types but the client's, in and out of order, and answers with what each said.
// world: http
#include "http.h"
#include <stdarg.h>

static char transcript[16384];
static size_t used;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    used += (size_t)vsnprintf(transcript + used, sizeof transcript - used, format, args);
    va_end(args);
    if (used >= sizeof transcript) __builtin_trap();
}

static const char *HEADER_ERRORS[] = {"invalid-syntax", "forbidden", "immutable"};

static void said(const char *what, bool ok, http_header_error_t error) {
    say("%s: %s\n", what, ok ? "ok" : HEADER_ERRORS[error.tag]);
}

static void append(const char *what, http_own_fields_t fields, const char *name, const char *value) {
    guest_string_t key = text(name);
    http_field_value_t bytes = {(uint8_t *)value, strlen(value)};
    http_header_error_t error;
    bool ok = http_method_fields_append(http_borrow_fields(fields), &key, &bytes, &error);
    said(what, ok, error);
}

static void set(const char *what, http_own_fields_t fields, const char *name, http_field_value_t *values, size_t size) {
    guest_string_t key = text(name);
    http_list_field_value_t list = {values, size};
    http_header_error_t error;
    bool ok = http_method_fields_set(http_borrow_fields(fields), &key, &list, &error);
    said(what, ok, error);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// Sorted: the order of different names is the host's.
static void list(const char *what, http_own_fields_t fields) {
    http_list_tuple2_field_name_field_value_t entries;
    http_method_fields_entries(http_borrow_fields(fields), &entries);
    char *lines[64];
    for (size_t i = 0; i < entries.len && i < 64; i++) {
        http_field_name_t name = entries.ptr[i].f0;
        http_field_value_t value = entries.ptr[i].f1;
        if (asprintf(&lines[i], "%.*s=%.*s", (int)name.len, (char *)name.ptr, (int)value.len, (char *)value.ptr) < 0) __builtin_trap();
    }
    qsort(lines, entries.len, sizeof lines[0], by_text);
    say("%s:", what);
    for (size_t i = 0; i < entries.len; i++) say(" %s", lines[i]);
    say("\n");
}

static void fields(void) {
    http_own_fields_t own = http_constructor_fields();
    append("append", own, "X-One", "1");
    append("append again", own, "x-one", "2");
    append("append bad name", own, "x one", "1");
    append("append empty name", own, "", "1");
    append("append bad value", own, "x-two", "a\nb");
    append("append forbidden", own, "Connection", "close");
    append("append host", own, "host", "a");
    append("append length", own, "content-length", "5");
    http_field_value_t two[] = {{(uint8_t *)"a", 1}, {(uint8_t *)"b", 1}};
    set("set two", own, "x-three", two, 2);
    set("set none", own, "x-one", two, 0);
    set("set forbidden", own, "upgrade", two, 1);
    guest_string_t key = text("X-THREE"), missing = text("x-none"), bad = text("a b"), forbidden = text("te\1");
    http_list_field_value_t values;
    http_method_fields_get(http_borrow_fields(own), &key, &values);
    say("get: %zu %.*s\n", values.len, (int)values.ptr[1].len, (char *)values.ptr[1].ptr);
    http_method_fields_get(http_borrow_fields(own), &missing, &values);
    say("get missing: %zu\n", values.len);
    http_method_fields_get(http_borrow_fields(own), &bad, &values);
    say("get bad name: %zu\n", values.len);
    say("has: %d %d %d\n", http_method_fields_has(http_borrow_fields(own), &key),
        http_method_fields_has(http_borrow_fields(own), &missing), http_method_fields_has(http_borrow_fields(own), &forbidden));
    http_own_fields_t copy = http_method_fields_clone(http_borrow_fields(own));
    http_header_error_t error;
    said("delete", http_method_fields_delete(http_borrow_fields(own), &key, &error), error);
    said("delete missing", http_method_fields_delete(http_borrow_fields(own), &missing, &error), error);
    said("delete bad name", http_method_fields_delete(http_borrow_fields(own), &bad, &error), error);
    list("entries", own);
    list("entries of the clone", copy);
    http_tuple2_field_name_field_value_t pairs[] = {{text("b"), {(uint8_t *)"2", 1}}, {text("A"), {(uint8_t *)"1", 1}}};
    http_list_tuple2_field_name_field_value_t from = {pairs, 2};
    http_own_fields_t made;
    said("from-list", http_static_fields_from_list(&from, &made, &error), error);
    list("entries of the list", made);
    pairs[1].f0 = text("keep-alive");
    said("from-list forbidden", http_static_fields_from_list(&from, &made, &error), error);
}

static void request(http_borrow_incoming_request_t request) {
    http_method_t method;
    http_scheme_t scheme;
    guest_string_t value;
    http_method_incoming_request_method(request, &method);
    say("method: %d\n", method.tag);
    if (http_method_incoming_request_path_with_query(request, &value)) say("path: %.*s\n", (int)value.len, (char *)value.ptr);
    say("scheme: %d", http_method_incoming_request_scheme(request, &scheme));
    say(" %d\n", scheme.tag);
    say("authority: %d\n", http_method_incoming_request_authority(request, &value));
    for (int round = 0; round < 2; round++) {
        http_own_fields_t headers = http_method_incoming_request_headers(request);
        list("headers", headers);
        append("headers append", headers, "x-more", "1");
        http_own_fields_t copy = http_method_fields_clone(http_borrow_fields(headers));
        append("clone append", copy, "x-more", "1");
        http_fields_drop_own(headers);
    }
    say("authority after headers: %d\n", http_method_incoming_request_authority(request, &value));
}

static void request_body(http_borrow_incoming_request_t request) {
    http_own_incoming_body_t body, again;
    say("consume: %d", http_method_incoming_request_consume(request, &body));
    say(" %d\n", http_method_incoming_request_consume(request, &again));
    streams_own_input_stream_t stream, second;
    say("stream: %d", http_method_incoming_body_stream(http_borrow_incoming_body(body), &stream));
    say(" %d\n", http_method_incoming_body_stream(http_borrow_incoming_body(body), &second));
    guest_list_u8_t part;
    streams_stream_error_t error;
    size_t size = 0;
    while (streams_method_input_stream_blocking_read(streams_borrow_input_stream(stream), 100, &part, &error)) size += part.len;
    say("read: %zu %d\n", size, error.tag);
    streams_input_stream_drop_own(stream);
    http_own_future_trailers_t future = http_static_incoming_body_finish(body);
    poll_method_pollable_block(poll_borrow_pollable(http_method_future_trailers_subscribe(http_borrow_future_trailers(future))));
    http_result_result_option_own_trailers_error_code_void_t got;
    for (int round = 0; round < 2; round++) {
        bool some = http_method_future_trailers_get(http_borrow_future_trailers(future), &got);
        say("trailers: %d %d %d\n", some, got.is_err, got.is_err || got.val.ok.is_err || got.val.ok.val.ok.is_some);
    }
}

// Writes to a body in the way of `blocking-write-and-flush`; says how that went.
static void write_text(const char *what, streams_own_output_stream_t stream, const char *data) {
    guest_list_u8_t bytes = {(uint8_t *)data, strlen(data)};
    streams_stream_error_t error;
    bool ok = streams_method_output_stream_blocking_write_and_flush(streams_borrow_output_stream(stream), &bytes, &error);
    if (ok) return say("%s: ok\n", what);
    if (error.tag == STREAMS_STREAM_ERROR_CLOSED) return say("%s: closed\n", what);
    http_error_code_t code = {.tag = 255};
    http_borrow_io_error_t io = {wasi_io_error_borrow_error(error.val.last_operation_failed).__handle};
    bool known = http_http_error_code(io, &code);
    say("%s: failed %d %d\n", what, known, code.tag);
    wasi_io_error_error_drop_own(error.val.last_operation_failed);
}

static void finish(const char *what, http_own_outgoing_body_t body, http_own_trailers_t *trailers) {
    http_error_code_t code = {.tag = 255};
    bool ok = http_static_outgoing_body_finish(body, trailers, &code);
    say("%s: %d", what, ok);
    if (!ok) {
        guest_option_u64_t size = code.val.http_response_body_size;
        say(" %d %d %llu", code.tag, size.is_some, (unsigned long long)size.val);
    }
    say("\n");
}

// A response that is never sent (so a host may let its writer wait for ever after the first write), with a body of `length` announced bytes, or of any.
static http_own_outgoing_response_t open_body(const char *length, http_own_outgoing_body_t *body, streams_own_output_stream_t *stream) {
    http_own_fields_t headers = http_constructor_fields();
    if (length) append("length", headers, "content-length", length);
    http_own_outgoing_response_t response = http_constructor_outgoing_response(headers);
    if (!http_method_outgoing_response_body(http_borrow_outgoing_response(response), body)) __builtin_trap();
    if (!http_method_outgoing_body_write(http_borrow_outgoing_body(*body), stream)) __builtin_trap();
    return response;
}

static void response(void) {
    http_own_fields_t headers = http_constructor_fields();
    append("append", headers, "x-a", "1");
    http_own_outgoing_response_t own = http_constructor_outgoing_response(headers);
    http_borrow_outgoing_response_t borrowed = http_borrow_outgoing_response(own);
    static const http_status_code_t CODES[] = {0, 99, 100, 204, 404, 599, 999, 1000, 65535};
    say("status: %d\n", http_method_outgoing_response_status_code(borrowed));
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        bool ok = http_method_outgoing_response_set_status_code(borrowed, CODES[i]);
        say("set status %d: %d %d\n", CODES[i], ok, http_method_outgoing_response_status_code(borrowed));
    }
    http_own_fields_t sent = http_method_outgoing_response_headers(borrowed);
    list("response headers", sent);
    append("response headers append", sent, "x-b", "1");
    http_fields_drop_own(sent);
    http_own_outgoing_body_t body, second;
    streams_own_output_stream_t stream, again;
    say("body: %d", http_method_outgoing_response_body(borrowed, &body));
    say(" %d\n", http_method_outgoing_response_body(borrowed, &second));
    say("write: %d", http_method_outgoing_body_write(http_borrow_outgoing_body(body), &stream));
    say(" %d\n", http_method_outgoing_body_write(http_borrow_outgoing_body(body), &again));
    write_text("write", stream, "some");
    http_outgoing_response_drop_own(own);
    write_text("write after the response is gone", stream, "more");
    streams_output_stream_drop_own(stream);
    finish("finish after the response is gone", body, NULL);
}

static void response_bodies(void) {
    http_own_outgoing_body_t body;
    streams_own_output_stream_t stream;
    open_body("5", &body, &stream);
    write_text("first of the announced", stream, "abc");
    streams_output_stream_drop_own(stream);
    finish("finish short", body, NULL);
    open_body("5", &body, &stream);
    write_text("past the announced", stream, "abcdef");
    streams_output_stream_drop_own(stream);
    finish("finish long", body, NULL);
    open_body("5", &body, &stream);
    write_text("all that was announced", stream, "abcde");
    streams_output_stream_drop_own(stream);
    finish("finish whole", body, NULL);
    open_body("0", &body, &stream);
    streams_output_stream_drop_own(stream);
    finish("finish empty", body, NULL);
    open_body(NULL, &body, &stream);
    write_text("of any length", stream, "abc");
    streams_output_stream_drop_own(stream);
    http_own_fields_t trailers = http_constructor_fields();
    append("trailer", trailers, "x-sum", "3");
    finish("finish with trailers", body, &trailers);
    open_body(NULL, &body, &stream);
    streams_output_stream_drop_own(stream);
    http_outgoing_body_drop_own(body);
    say("dropped\n");
    uint64_t room;
    streams_stream_error_t error;
    open_body(NULL, &body, &stream);
    say("check-write: %d", streams_method_output_stream_check_write(streams_borrow_output_stream(stream), &room, &error));
    say(" %d\n", room >= 4096);
    say("ready: %d\n", poll_method_pollable_ready(poll_borrow_pollable(
        (poll_own_pollable_t){streams_method_output_stream_subscribe(streams_borrow_output_stream(stream)).__handle})));
    say("zeroes: %d\n", streams_method_output_stream_blocking_write_zeroes_and_flush(streams_borrow_output_stream(stream), 10, &error));
    say("flush: %d", streams_method_output_stream_flush(streams_borrow_output_stream(stream), &error));
    say(" %d\n", streams_method_output_stream_blocking_flush(streams_borrow_output_stream(stream), &error));
}

static void client(void) {
    http_own_fields_t headers = http_constructor_fields();
    append("length", headers, "content-length", "3");
    http_own_outgoing_request_t own = http_constructor_outgoing_request(headers);
    http_borrow_outgoing_request_t request = http_borrow_outgoing_request(own);
    http_method_t method = {.tag = HTTP_METHOD_OTHER, .val.other = text("A B")};
    say("set bad method: %d\n", http_method_outgoing_request_set_method(request, &method));
    method.val.other = text("PURGE");
    say("set method: %d\n", http_method_outgoing_request_set_method(request, &method));
    http_method_outgoing_request_method(request, &method);
    say("method: %d\n", method.tag);
    guest_string_t value = text("/a b");
    say("set bad path: %d\n", http_method_outgoing_request_set_path_with_query(request, &value));
    value = text("/a?b");
    say("set path: %d\n", http_method_outgoing_request_set_path_with_query(request, &value));
    value = text("a b");
    say("set bad authority: %d\n", http_method_outgoing_request_set_authority(request, &value));
    http_own_outgoing_body_t body, second;
    say("body: %d", http_method_outgoing_request_body(request, &body));
    say(" %d\n", http_method_outgoing_request_body(request, &second));
    http_own_fields_t sent = http_method_outgoing_request_headers(request);
    append("request headers append", sent, "x-b", "1");
    streams_own_output_stream_t stream;
    say("write: %d\n", http_method_outgoing_body_write(http_borrow_outgoing_body(body), &stream));
    write_text("past the request's length", stream, "abcd");
    streams_output_stream_drop_own(stream);
    finish("finish the request's body", body, NULL);
}

void exports_handler_handle(http_own_incoming_request_t incoming, http_own_response_outparam_t out) {
    request(http_borrow_incoming_request(incoming));
    request_body(http_borrow_incoming_request(incoming));
    fields();
    response();
    response_bodies();
    client();
    reply_text(out, 200, transcript);
}
