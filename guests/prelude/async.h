// What the guests of WASI 0.3 share: waiting for one thing at a time, on the task's own stack.
#pragma once
#include "guest.h"
#include <stdlib.h>
#include <string.h>

// The outcome of a read or write that was begun on a stream or a future: its status, after waiting if it was blocked.
static inline guest_waitable_status_t settle(uint32_t waitable, guest_waitable_status_t status) {
    if (status != GUEST_WAITABLE_STATUS_BLOCKED) return status;
    guest_waitable_set_t set = guest_waitable_set_new();
    guest_event_t event;
    guest_waitable_join(waitable, set);
    guest_waitable_set_wait(set, &event);
    guest_waitable_join(waitable, 0);
    guest_waitable_set_drop(set);
    return event.code;
}

// Waits until a call that was begun has returned.
static inline void finish_call(guest_subtask_status_t status) {
    if (GUEST_SUBTASK_STATE(status) == GUEST_SUBTASK_RETURNED) return;
    guest_subtask_t subtask = GUEST_SUBTASK_HANDLE(status);
    guest_waitable_set_t set = guest_waitable_set_new();
    guest_event_t event;
    guest_waitable_join(subtask, set);
    do guest_waitable_set_wait(set, &event);
    while (event.code != GUEST_SUBTASK_RETURNED);
    guest_waitable_join(subtask, 0);
    guest_waitable_set_drop(set);
    guest_subtask_drop(subtask);
}
