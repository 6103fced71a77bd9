// http3_hello: the handler of wasi:http 0.3; 200, text/plain, "Hello, World!\n".
// world: http3
#include "http3.h"

guest_callback_code_t exports_handler_handle(exports_handler_own_request_t request) {
    http_request_drop_own(request);
    http_own_fields_t headers = http_constructor_fields();
    add_header(headers, "content-type", "text/plain", 10);
    reply_t reply = start_reply(200, headers);
    write_all(reply, (const uint8_t *)"Hello, World!\n", 14);
    finish_reply(reply, NULL);
    return GUEST_CALLBACK_CODE_EXIT;
}
