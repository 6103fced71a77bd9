// random: what needs no grant, as JSON: 32 random bytes ("bytes", hex), the clocks ("monotonic" in ns, "wall" in s).
// world: run
#include "run.h"

static char *answer(const char *args) {
    (void)args;
    guest_list_u8_t bytes;
    random__get_random_bytes(32, &bytes);
    char hex[65] = "";
    for (size_t i = 0; i < bytes.len && i < 32; i++) sprintf(hex + 2 * i, "%02x", bytes.ptr[i]);
    wall_datetime_t now;
    wall_now(&now);
    return format("{\"bytes\": \"%s\", \"monotonic\": %llu, \"wall\": %llu}", hex, (unsigned long long)monotonic_now(),
                  (unsigned long long)now.seconds);
}
