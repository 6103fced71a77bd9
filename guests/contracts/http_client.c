// http_client: ?url=http://HOST[:PORT]/PATH: sends its own method and body there, answers with the status and body it gets.
// world: http
// A request that fails is a 502 whose body is "error: " and the name of the error code.
#include "http.h"

// In the order of wasi:http/types.error-code.
static const char *ERRORS[] = {
    "DNS-timeout", "DNS-error", "destination-not-found", "destination-unavailable",
    "destination-IP-prohibited", "destination-IP-unroutable", "connection-refused", "connection-terminated",
    "connection-timeout", "connection-read-timeout", "connection-write-timeout", "connection-limit-reached",
    "TLS-protocol-error", "TLS-certificate-error", "TLS-alert-received", "HTTP-request-denied",
    "HTTP-request-length-required", "HTTP-request-body-size", "HTTP-request-method-invalid",
    "HTTP-request-URI-invalid", "HTTP-request-URI-too-long", "HTTP-request-header-section-size",
    "HTTP-request-header-size", "HTTP-request-trailer-section-size", "HTTP-request-trailer-size",
    "HTTP-response-incomplete", "HTTP-response-header-section-size", "HTTP-response-header-size",
    "HTTP-response-body-size", "HTTP-response-trailer-section-size", "HTTP-response-trailer-size",
    "HTTP-response-transfer-coding", "HTTP-response-content-coding", "HTTP-response-timeout",
    "HTTP-upgrade-failed", "HTTP-protocol-error", "loop-detected", "configuration-error", "internal-error",
};

static void fail(http_own_response_outparam_t out, uint8_t code) {
    char body[64];
    snprintf(body, sizeof body, "error: %s", ERRORS[code]);
    reply_text(out, 502, body);
}

// The request to send; false when the URL is not one.
static bool prepare(char *url, http_own_incoming_request_t from, http_own_outgoing_request_t *request) {
    char *host = strstr(url, "://");
    if (host == NULL) return false;
    *host = 0;
    host += 3;
    char *path = strchr(host, '/');
    guest_string_t authority = {(uint8_t *)host, path != NULL ? (size_t)(path - host) : strlen(host)};
    guest_string_t path_text = text(path != NULL ? path : "/");
    http_scheme_t scheme = {.tag = strcmp(url, "https") == 0 ? HTTP_SCHEME_HTTPS : HTTP_SCHEME_HTTP};
    http_method_t method;
    http_method_incoming_request_method(http_borrow_incoming_request(from), &method);
    *request = http_constructor_outgoing_request(http_constructor_fields());
    http_borrow_outgoing_request_t borrowed = http_borrow_outgoing_request(*request);
    return http_method_outgoing_request_set_method(borrowed, &method) &&
           http_method_outgoing_request_set_scheme(borrowed, &scheme) &&
           http_method_outgoing_request_set_authority(borrowed, &authority) &&
           http_method_outgoing_request_set_path_with_query(borrowed, &path_text);
}

static streams_own_input_stream_t request_stream(http_own_incoming_request_t request) {
    http_own_incoming_body_t body;
    streams_own_input_stream_t stream;
    if (!http_method_incoming_request_consume(http_borrow_incoming_request(request), &body)) __builtin_trap();
    if (!http_method_incoming_body_stream(http_borrow_incoming_body(body), &stream)) __builtin_trap();
    return stream;
}

// From a stream to the end into a body.
static void copy(streams_own_input_stream_t from, reply_t to) {
    guest_list_u8_t part;
    streams_stream_error_t error;
    while (streams_method_input_stream_blocking_read(streams_borrow_input_stream(from), 65536, &part, &error)) {
        if (!write_all(to, part.ptr, part.len)) return;
        guest_list_u8_free(&part);
    }
    finish_reply(to, NULL);
}

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    char *url = query(request, "url");
    http_own_outgoing_request_t outgoing;
    if (url == NULL || !prepare(url, request, &outgoing)) {
        reply_text(out, 400, "error: give ?url=http://HOST[:PORT]/PATH");
        return;
    }
    reply_t upload;
    if (!http_method_outgoing_request_body(http_borrow_outgoing_request(outgoing), &upload.body)) __builtin_trap();
    if (!http_method_outgoing_body_write(http_borrow_outgoing_body(upload.body), &upload.stream)) __builtin_trap();
    http_own_future_incoming_response_t future;
    http_error_code_t error;
    if (!outgoing_handle(outgoing, NULL, &future, &error)) {
        fail(out, error.tag);
        return;
    }
    copy(request_stream(request), upload);
    poll_own_pollable_t ready = http_method_future_incoming_response_subscribe(http_borrow_future_incoming_response(future));
    poll_method_pollable_block(poll_borrow_pollable(ready));
    http_result_result_own_incoming_response_error_code_void_t got;
    if (!http_method_future_incoming_response_get(http_borrow_future_incoming_response(future), &got)) __builtin_trap();
    if (got.val.ok.is_err) {
        fail(out, got.val.ok.val.err.tag);
        return;
    }
    http_own_incoming_response_t response = got.val.ok.val.ok;
    http_own_incoming_body_t body;
    streams_own_input_stream_t stream;
    if (!http_method_incoming_response_consume(http_borrow_incoming_response(response), &body)) __builtin_trap();
    if (!http_method_incoming_body_stream(http_borrow_incoming_body(body), &stream)) __builtin_trap();
    uint16_t status = http_method_incoming_response_status(http_borrow_incoming_response(response));
    copy(stream, start_reply(out, status, http_constructor_fields()));
}
