// stdout_flood: writes to stdout without end; "stderr" as args: to stderr. Returns "refused" when the host refuses more.
// world: run
#include "run.h"

static char *answer(const char *args) {
    streams_own_output_stream_t stream = strcmp(args, "stderr") == 0 ? errors_get_stderr() : output_get_stdout();
    char line[1024];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    guest_list_u8_t bytes = {(uint8_t *)line, sizeof line};
    streams_stream_error_t error;
    while (streams_method_output_stream_blocking_write_and_flush(streams_borrow_output_stream(stream), &bytes, &error)) {
    }
    return format("refused");
}
