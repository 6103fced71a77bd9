// The export of wasi:http/incoming-handler, in terms of handle().
#include "function.h"

static http_own_response_outparam_t answer_to;
static http_own_outgoing_body_t open_body;
static streams_own_output_stream_t stream;
static http_own_incoming_request_t current;
static bool begun, ended;

static char *copied(const uint8_t *from, size_t size) {
    char *made = malloc(size + 1);
    if (made == NULL) __builtin_trap();
    memcpy(made, from, size);
    made[size] = 0;
    return made;
}

static const char *method_of(http_borrow_incoming_request_t request) {
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    http_method_t method;
    http_method_incoming_request_method(request, &method);
    if (method.tag < sizeof(names) / sizeof(names[0])) return names[method.tag];
    return copied(method.val.other.ptr, method.val.other.len);
}

static void read_body(http_borrow_incoming_request_t request, request_t *into) {
    http_own_incoming_body_t body;
    if (!http_method_incoming_request_consume(request, &body)) __builtin_trap();
    streams_own_input_stream_t input;
    if (!http_method_incoming_body_stream(http_borrow_incoming_body(body), &input)) __builtin_trap();
    uint8_t *all = NULL;
    for (;;) {
        guest_list_u8_t part;
        streams_stream_error_t error;
        if (!streams_method_input_stream_blocking_read(streams_borrow_input_stream(input), 65536, &part, &error)) break;
        if (part.len == 0) continue;
        all = realloc(all, into->size + part.len);
        if (all == NULL) __builtin_trap();
        memcpy(all + into->size, part.ptr, part.len);
        into->size += part.len;
        free(part.ptr);
    }
    into->body = all;
    streams_input_stream_drop_own(input);
    http_incoming_body_drop_own(body);
}

const char *request_header(const request_t *request, const char *name) {
    (void)request;
    http_own_headers_t fields = http_method_incoming_request_headers(http_borrow_incoming_request(current));
    guest_string_t key = {(uint8_t *)name, strlen(name)};
    http_list_field_value_t values;
    http_method_fields_get(http_borrow_fields(fields), &key, &values);
    return values.len == 0 ? NULL : copied(values.ptr[0].ptr, values.ptr[0].len);
}

const char *request_query(const request_t *request, const char *name) {
    size_t size = strlen(name);
    for (const char *at = strchr(request->path, '?'); at != NULL; at = strchr(at, '&')) {
        at += 1;
        if (strncmp(at, name, size) == 0 && at[size] == '=') {
            const char *value = at + size + 1;
            return copied((const uint8_t *)value, strcspn(value, "&"));
        }
    }
    return NULL;
}

static void add(http_own_fields_t fields, const char *name, const char *value) {
    guest_string_t key = {(uint8_t *)name, strlen(name)};
    http_field_value_t bytes = {(uint8_t *)value, strlen(value)};
    http_header_error_t error;
    if (!http_method_fields_append(http_borrow_fields(fields), &key, &bytes, &error)) __builtin_trap();
}

static void send_head(int status, const char *type, const char *length) {
    if (begun) __builtin_trap();
    begun = true;
    http_own_fields_t fields = http_constructor_fields();
    add(fields, "content-type", type != NULL ? type : "text/plain; charset=utf-8");
    if (length != NULL) add(fields, "content-length", length);
    http_own_outgoing_response_t response = http_constructor_outgoing_response(fields);
    http_borrow_outgoing_response_t borrowed = http_borrow_outgoing_response(response);
    if (!http_method_outgoing_response_set_status_code(borrowed, (uint16_t)status)) __builtin_trap();
    if (!http_method_outgoing_response_body(borrowed, &open_body)) __builtin_trap();
    http_result_own_outgoing_response_error_code_t result = {.is_err = false, .val.ok = response};
    http_static_response_outparam_set(answer_to, &result);
    if (!http_method_outgoing_body_write(http_borrow_outgoing_body(open_body), &stream)) __builtin_trap();
}

void begin(int status, const char *type) { send_head(status, type, NULL); }

bool write_part(const void *data, size_t size) {
    const uint8_t *from = data;
    while (size > 0) {
        size_t part = size < 4096 ? size : 4096;  // the most that one blocking write may carry
        guest_list_u8_t bytes = {(uint8_t *)from, part};
        streams_stream_error_t error;
        streams_borrow_output_stream_t borrowed = streams_borrow_output_stream(stream);
        if (!streams_method_output_stream_blocking_write_and_flush(borrowed, &bytes, &error)) return false;
        from += part;
        size -= part;
    }
    return true;
}

void end(void) {
    http_error_code_t error;
    ended = true;
    streams_output_stream_drop_own(stream);
    http_static_outgoing_body_finish(open_body, NULL, &error);
}

void reply(int status, const char *type, const void *body, size_t size) {
    char length[24];
    snprintf(length, sizeof(length), "%zu", size);
    send_head(status, type, length);
    write_part(body, size);
    end();
}

void reply_text(int status, const char *text) { reply(status, NULL, text, strlen(text)); }

void exports_handler_handle(http_own_incoming_request_t incoming, http_own_response_outparam_t out) {
    http_borrow_incoming_request_t borrowed = http_borrow_incoming_request(incoming);
    current = incoming;
    answer_to = out;
    request_t request = {.method = method_of(borrowed), .path = "/"};
    guest_string_t path;
    if (http_method_incoming_request_path_with_query(borrowed, &path)) request.path = copied(path.ptr, path.len);
    read_body(borrowed, &request);
    handle(&request);
    if (begun && !ended) end();
}
