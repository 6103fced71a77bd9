// cli3_hello: wasi:cli/run 0.3; writes "Hello, ARG!" for each argument to stdout; no arguments is a failure (exit code 1).
// world: cli3
#include "async.h"
#include <stdio.h>

// The bindings name the type stream<u8> after the first interface that has it: stdin.
static bool write_all(input_stream_u8_writer_t to, const char *from, size_t size) {
    while (size > 0) {
        guest_waitable_status_t status = settle(to, input_stream_u8_write(to, (const uint8_t *)from, size));
        from += GUEST_WAITABLE_COUNT(status);
        size -= GUEST_WAITABLE_COUNT(status);
        if (GUEST_WAITABLE_STATE(status) != GUEST_WAITABLE_COMPLETED) return size == 0;
    }
    return true;
}

guest_callback_code_t exports_run_run() {
    guest_list_string_t arguments;
    environment_get_arguments(&arguments);
    input_stream_u8_writer_t writer;
    output_future_result_void_error_code_t written = output_write_via_stream(input_stream_u8_new(&writer));
    for (size_t i = 1; i < arguments.len; i++) {
        char line[1024];
        int size = snprintf(line, sizeof line, "Hello, %.*s!\n", (int)arguments.ptr[i].len, (char *)arguments.ptr[i].ptr);
        write_all(writer, line, size);
    }
    input_stream_u8_drop_writable(writer);
    output_result_void_error_code_t result;
    settle(written, output_future_result_void_error_code_read(written, &result));
    exports_run_result_void_void_t end = {.is_err = result.is_err || arguments.len < 2};
    exports_run_run_return(end);
    return GUEST_CALLBACK_CODE_EXIT;
}

// The task waits on its own stack, so it is never resumed by its callback.
guest_callback_code_t exports_run_run_callback(guest_event_t *event) {
    (void)event;
    __builtin_trap();
}
