// cli3_cat: wasi:cli/run 0.3; hands its stdin stream to stdout and waits until it is written.
// world: cli3
#include "async.h"

guest_callback_code_t exports_run_run() {
    input_tuple2_stream_u8_future_result_void_error_code_t input;
    input_read_via_stream(&input);
    output_future_result_void_error_code_t written = output_write_via_stream(input.f0);
    output_result_void_error_code_t result;
    settle(written, output_future_result_void_error_code_read(written, &result));
    exports_run_result_void_void_t end = {.is_err = result.is_err};
    exports_run_run_return(end);
    return GUEST_CALLBACK_CODE_EXIT;
}

// The task waits on its own stack, so it is never resumed by its callback.
guest_callback_code_t exports_run_run_callback(guest_event_t *event) {
    (void)event;
    __builtin_trap();
}
