// http3_client: wasi:http 0.3; ?url=http://HOST[:PORT]/PATH: sends a GET there, answers with the status and body it gets.
// world: http3
// A request that fails is a 502 whose body is "error: " and the number of the error code in wasi:http/types.
#include "http3.h"
#include <stdio.h>

static guest_string_t text(const char *from) { return (guest_string_t){(uint8_t *)from, strlen(from)}; }

// A GET of the URL; `end` is to be written once the request is sent. False when the URL is not one.
static bool prepare(char *url, http_own_request_t *request, trailers_writer_t *end) {
    char *host = strstr(url, "://");
    if (host == NULL) return false;
    *host = 0;
    host += 3;
    char *path = strchr(host, '/');
    guest_string_t authority = {(uint8_t *)host, path != NULL ? (size_t)(path - host) : strlen(host)};
    guest_string_t path_text = text(path != NULL ? path : "/");
    http_scheme_t scheme = {.tag = strcmp(url, "https") == 0 ? HTTP_SCHEME_HTTPS : HTTP_SCHEME_HTTP};
    trailers_t trailers = http_future_result_option_own_trailers_error_code_new(end);
    http_tuple2_own_request_future_result_void_error_code_t made;
    http_static_request_new(http_constructor_fields(), NULL, trailers, NULL, &made);
    http_future_result_void_error_code_drop_readable(made.f1);
    *request = made.f0;
    http_borrow_request_t borrowed = http_borrow_request(made.f0);
    return http_method_request_set_scheme(borrowed, &scheme) && http_method_request_set_authority(borrowed, &authority) &&
           http_method_request_set_path_with_query(borrowed, &path_text);
}

static void reply_text(uint16_t status, const char *body) {
    reply_t reply = start_reply(status, http_constructor_fields());
    write_all(reply, (const uint8_t *)body, strlen(body));
    finish_reply(reply, NULL);
}

// The response's body to the end, as ours.
static void forward(http_own_response_t response) {
    uint16_t status = http_method_response_get_status_code(http_borrow_response(response));
    http_future_result_void_error_code_writer_t verdict;
    http_tuple2_stream_u8_future_result_option_own_trailers_error_code_t body;
    http_static_response_consume_body(response, http_future_result_void_error_code_new(&verdict), &body);
    reply_t reply = start_reply(status, http_constructor_fields());
    static uint8_t part[65536];
    guest_waitable_status_t got;
    do {
        got = settle(body.f0, http_stream_u8_read(body.f0, part, sizeof part));
        if (!write_all(reply, part, GUEST_WAITABLE_COUNT(got))) return;
    } while (GUEST_WAITABLE_STATE(got) == GUEST_WAITABLE_COMPLETED);
    finish_reply(reply, NULL);
    http_result_void_error_code_t fine = {.is_err = false};
    settle(verdict, http_future_result_void_error_code_write(verdict, &fine));
}

guest_callback_code_t exports_handler_handle(exports_handler_own_request_t request) {
    guest_string_t path = {NULL, 0};
    http_method_request_get_path_with_query(http_borrow_request(request), &path);
    char *url = strstr(strndup((char *)path.ptr, path.len), "?url=");
    http_own_request_t outgoing;
    trailers_writer_t end;
    if (url == NULL || !prepare(url + 5, &outgoing, &end)) {
        reply_text(400, "error: give ?url=http://HOST[:PORT]/PATH");
        return GUEST_CALLBACK_CODE_EXIT;
    }
    static client_result_own_response_error_code_t result;
    guest_subtask_status_t call = client_send(outgoing, &result);
    http_result_option_own_trailers_error_code_t no_trailers = {.is_err = false, .val.ok.is_some = false};
    settle(end, http_future_result_option_own_trailers_error_code_write(end, &no_trailers));
    finish_call(call);
    if (result.is_err) {
        char body[32];
        snprintf(body, sizeof body, "error: %u", result.val.err.tag);
        reply_text(502, body);
    } else {
        forward(result.val.ok);
    }
    return GUEST_CALLBACK_CODE_EXIT;
}
