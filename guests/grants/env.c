// env: returns {"args": [...], "env": {...}} as JSON.
// world: run
#include "run.h"

static char *quoted(guest_string_t text) {
    char *made = malloc(text.len * 6 + 3), *to = made;
    *to++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.ptr[i];
        if (byte == '"' || byte == '\\')
            to += sprintf(to, "\\%c", byte);
        else if (byte < 0x20)
            to += sprintf(to, "\\u%04x", byte);
        else
            *to++ = (char)byte;
    }
    *to++ = '"';
    *to = 0;
    return made;
}

static char *answer(const char *args) {
    (void)args;
    guest_list_string_t arguments;
    guest_list_tuple2_string_string_t variables;
    environment_get_arguments(&arguments);
    environment_get_environment(&variables);
    char *json = format("{\"args\": [");
    for (size_t i = 0; i < arguments.len; i++) json = format("%s%s%s", json, i > 0 ? ", " : "", quoted(arguments.ptr[i]));
    json = format("%s], \"env\": {", json);
    for (size_t i = 0; i < variables.len; i++)
        json = format("%s%s%s: %s", json, i > 0 ? ", " : "", quoted(variables.ptr[i].f0), quoted(variables.ptr[i].f1));
    return format("%s}}", json);
}
