// http_fetches: ?host=HOST:PORT&times=N: gets / from there that often, lets go of all that came, answers with how many bytes there were.
// world: http
#include "http.h"

static size_t fetch(char *host) {
    http_own_outgoing_request_t request = http_constructor_outgoing_request(http_constructor_fields());
    http_borrow_outgoing_request_t borrowed = http_borrow_outgoing_request(request);
    guest_string_t authority = text(host), path = text("/");
    http_scheme_t scheme = {.tag = HTTP_SCHEME_HTTP};
    if (!http_method_outgoing_request_set_scheme(borrowed, &scheme)) __builtin_trap();
    if (!http_method_outgoing_request_set_authority(borrowed, &authority)) __builtin_trap();
    if (!http_method_outgoing_request_set_path_with_query(borrowed, &path)) __builtin_trap();
    http_own_future_incoming_response_t future;
    http_error_code_t error;
    if (!outgoing_handle(request, NULL, &future, &error)) __builtin_trap();
    poll_own_pollable_t ready = http_method_future_incoming_response_subscribe(http_borrow_future_incoming_response(future));
    poll_method_pollable_block(poll_borrow_pollable(ready));
    poll_pollable_drop_own(ready);
    http_result_result_own_incoming_response_error_code_void_t got;
    if (!http_method_future_incoming_response_get(http_borrow_future_incoming_response(future), &got)) __builtin_trap();
    if (got.is_err || got.val.ok.is_err) __builtin_trap();
    http_future_incoming_response_drop_own(future);
    http_own_incoming_response_t response = got.val.ok.val.ok;
    http_own_incoming_body_t body;
    streams_own_input_stream_t stream;
    if (!http_method_incoming_response_consume(http_borrow_incoming_response(response), &body)) __builtin_trap();
    http_incoming_response_drop_own(response);
    if (!http_method_incoming_body_stream(http_borrow_incoming_body(body), &stream)) __builtin_trap();
    size_t size = 0;
    guest_list_u8_t part;
    streams_stream_error_t end;
    while (streams_method_input_stream_blocking_read(streams_borrow_input_stream(stream), 65536, &part, &end)) {
        size += part.len;
        guest_list_u8_free(&part);
    }
    streams_input_stream_drop_own(stream);
    http_incoming_body_drop_own(body);
    return size;
}

void exports_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    char *host = query(request, "host");
    long times = query_number(request, "times", 1);
    size_t size = 0;
    while (times-- > 0) size += fetch(host);
    char answer[32];
    snprintf(answer, sizeof answer, "%zu", size);
    reply_text(out, 200, answer);
}
