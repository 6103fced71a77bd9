// http3_echo: streams the request's body and trailers back; x-path and x-header-NAME say the rest.
// world: http3
#include "http3.h"
#include <stdio.h>

static void describe(http_borrow_request_t request, http_own_fields_t headers) {
    guest_string_t path;
    if (http_method_request_get_path_with_query(request, &path)) add_header(headers, "x-path", path.ptr, path.len);
    http_list_tuple2_field_name_field_value_t entries;
    http_own_fields_t received = http_method_request_get_headers(request);
    http_method_fields_copy_all(http_borrow_fields(received), &entries);
    for (size_t i = 0; i < entries.len; i++) {
        char name[256];
        snprintf(name, sizeof name, "x-header-%.*s", (int)entries.ptr[i].f0.len, (char *)entries.ptr[i].f0.ptr);
        add_header(headers, name, entries.ptr[i].f1.ptr, entries.ptr[i].f1.len);
    }
    http_fields_drop_own(received);
}

guest_callback_code_t exports_handler_handle(exports_handler_own_request_t request) {
    http_own_fields_t headers = http_constructor_fields();
    describe(http_borrow_request(request), headers);
    http_future_result_void_error_code_writer_t verdict;
    http_future_result_void_error_code_t handled = http_future_result_void_error_code_new(&verdict);
    http_tuple2_stream_u8_future_result_option_own_trailers_error_code_t body;
    http_static_request_consume_body(request, handled, &body);

    reply_t reply = start_reply(200, headers);
    static uint8_t part[65536];
    guest_waitable_status_t status;
    do {
        status = settle(body.f0, http_stream_u8_read(body.f0, part, sizeof part));
        if (!write_all(reply, part, GUEST_WAITABLE_COUNT(status))) return GUEST_CALLBACK_CODE_EXIT;
    } while (GUEST_WAITABLE_STATE(status) == GUEST_WAITABLE_COMPLETED);
    http_stream_u8_drop_readable(body.f0);

    http_result_option_own_trailers_error_code_t end;
    settle(body.f1, http_future_result_option_own_trailers_error_code_read(body.f1, &end));
    http_future_result_option_own_trailers_error_code_drop_readable(body.f1);
    http_own_trailers_t trailers;
    bool some = !end.is_err && end.val.ok.is_some;
    if (some) trailers = http_method_fields_clone(http_borrow_fields(end.val.ok.val));
    finish_reply(reply, some ? &trailers : NULL);

    http_result_void_error_code_t fine = {.is_err = false};
    settle(verdict, http_future_result_void_error_code_write(verdict, &fine));
    http_future_result_void_error_code_drop_writable(verdict);
    return GUEST_CALLBACK_CODE_EXIT;
}
