// net: tcp ADDRESS:PORT TEXT | udp ADDRESS:PORT TEXT | listen ADDRESS:PORT | dns NAME (IPv4).
// world: run
// tcp and udp send the text and answer with what comes back, listen with "listening", dns with addresses, one a line;
// each with "error: " and the error code's name when it fails.
#include "run.h"

// In the order of wasi:sockets/network.error-code.
static const char *ERRORS[] = {
    "unknown", "access-denied", "not-supported", "invalid-argument", "out-of-memory", "timeout", "concurrency-conflict",
    "not-in-progress", "would-block", "invalid-state", "new-socket-limit", "address-not-bindable", "address-in-use",
    "remote-unreachable", "connection-refused", "connection-reset", "connection-aborted", "datagram-too-large",
    "name-unresolvable", "temporary-resolver-failure", "permanent-resolver-failure",
};

static network_error_code_t code;

static char *failed(void) { return format("error: %s", ERRORS[code]); }

static void wait_for(poll_own_pollable_t pollable) {
    poll_method_pollable_block(poll_borrow_pollable(pollable));
    poll_pollable_drop_own(pollable);
}

static network_borrow_network_t host_network(void) {
    return network_borrow_network(instance_network_instance_network());
}

static bool parse(const char *from, network_ip_socket_address_t *address) {
    unsigned a, b, c, d, port;
    if (sscanf(from, "%u.%u.%u.%u:%u", &a, &b, &c, &d, &port) != 5) return false;
    *address = (network_ip_socket_address_t){.tag = NETWORK_IP_SOCKET_ADDRESS_IPV4};
    address->val.ipv4 = (network_ipv4_socket_address_t){port, {a, b, c, d}};
    return true;
}

static bool tcp_socket(tcp_own_tcp_socket_t *socket) {
    return tcp_create_create_tcp_socket(NETWORK_IP_ADDRESS_FAMILY_IPV4, socket, &code);
}

static char *tcp_talk(network_ip_socket_address_t *to, const char *said) {
    tcp_own_tcp_socket_t socket;
    if (!tcp_socket(&socket)) return failed();
    tcp_borrow_tcp_socket_t borrowed = tcp_borrow_tcp_socket(socket);
    tcp_tuple2_own_input_stream_own_output_stream_t streams;
    if (!tcp_method_tcp_socket_start_connect(borrowed, host_network(), to, &code)) return failed();
    while (!tcp_method_tcp_socket_finish_connect(borrowed, &streams, &code)) {
        if (code != NETWORK_ERROR_CODE_WOULD_BLOCK) return failed();
        wait_for(tcp_method_tcp_socket_subscribe(borrowed));
    }
    guest_list_u8_t bytes = {(uint8_t *)said, strlen(said)};
    streams_stream_error_t error;
    streams_borrow_output_stream_t output = streams_borrow_output_stream(streams.f1);
    if (!streams_method_output_stream_blocking_write_and_flush(output, &bytes, &error)) return format("error: cannot write");
    tcp_method_tcp_socket_shutdown(borrowed, TCP_SHUTDOWN_TYPE_SEND, &code);
    char *heard = format("");
    while (streams_method_input_stream_blocking_read(streams_borrow_input_stream(streams.f0), 4096, &bytes, &error))
        heard = format("%s%.*s", heard, (int)bytes.len, (char *)bytes.ptr);
    return heard;
}

static char *tcp_listen(network_ip_socket_address_t *at) {
    tcp_own_tcp_socket_t socket;
    if (!tcp_socket(&socket)) return failed();
    tcp_borrow_tcp_socket_t borrowed = tcp_borrow_tcp_socket(socket);
    if (!tcp_method_tcp_socket_start_bind(borrowed, host_network(), at, &code)) return failed();
    if (!tcp_method_tcp_socket_finish_bind(borrowed, &code)) return failed();
    if (!tcp_method_tcp_socket_start_listen(borrowed, &code)) return failed();
    if (!tcp_method_tcp_socket_finish_listen(borrowed, &code)) return failed();
    return format("listening");
}

static char *udp_talk(network_ip_socket_address_t *to, const char *said) {
    udp_own_udp_socket_t socket;
    if (!udp_create_create_udp_socket(NETWORK_IP_ADDRESS_FAMILY_IPV4, &socket, &code)) return failed();
    udp_borrow_udp_socket_t borrowed = udp_borrow_udp_socket(socket);
    network_ip_socket_address_t any = {.tag = NETWORK_IP_SOCKET_ADDRESS_IPV4};
    if (!udp_method_udp_socket_start_bind(borrowed, host_network(), &any, &code)) return failed();
    if (!udp_method_udp_socket_finish_bind(borrowed, &code)) return failed();
    udp_tuple2_own_incoming_datagram_stream_own_outgoing_datagram_stream_t streams;
    if (!udp_method_udp_socket_stream(borrowed, to, &streams, &code)) return failed();

    udp_borrow_outgoing_datagram_stream_t output = udp_borrow_outgoing_datagram_stream(streams.f1);
    udp_outgoing_datagram_t datagram = {.data = {(uint8_t *)said, strlen(said)}, .remote_address = {.is_some = false}};
    udp_list_outgoing_datagram_t datagrams = {&datagram, 1};
    uint64_t count = 0;
    while (count == 0) {
        wait_for(udp_method_outgoing_datagram_stream_subscribe(output));
        if (!udp_method_outgoing_datagram_stream_check_send(output, &count, &code)) return failed();
    }
    if (!udp_method_outgoing_datagram_stream_send(output, &datagrams, &count, &code)) return failed();

    udp_borrow_incoming_datagram_stream_t input = udp_borrow_incoming_datagram_stream(streams.f0);
    udp_list_incoming_datagram_t heard = {NULL, 0};
    while (heard.len == 0) {
        wait_for(udp_method_incoming_datagram_stream_subscribe(input));
        if (!udp_method_incoming_datagram_stream_receive(input, 1, &heard, &code)) return failed();
    }
    return format("%.*s", (int)heard.ptr[0].data.len, (char *)heard.ptr[0].data.ptr);
}

static char *dns(const char *name) {
    guest_string_t asked = {(uint8_t *)name, strlen(name)};
    lookup_own_resolve_address_stream_t stream;
    if (!lookup_resolve_addresses(host_network(), &asked, &stream, &code)) return failed();
    lookup_borrow_resolve_address_stream_t borrowed = lookup_borrow_resolve_address_stream(stream);
    char *answers = format("");
    for (;;) {
        lookup_option_ip_address_t next;
        if (lookup_method_resolve_address_stream_resolve_next_address(borrowed, &next, &code)) {
            if (!next.is_some) return answers;
            if (next.val.tag != NETWORK_IP_ADDRESS_IPV4) continue;
            network_ipv4_address_t ip = next.val.val.ipv4;
            answers = format("%s%u.%u.%u.%u\n", answers, ip.f0, ip.f1, ip.f2, ip.f3);
        } else if (code == NETWORK_ERROR_CODE_WOULD_BLOCK) {
            wait_for(lookup_method_resolve_address_stream_subscribe(borrowed));
        } else {
            return failed();
        }
    }
}

static char *answer(const char *args) {
    char *verb = strdup(args), *where = strchr(verb, ' ');
    if (where == NULL) return format("error: what, and where?");
    *where++ = 0;
    if (strcmp(verb, "dns") == 0) return dns(where);
    char *said = strchr(where, ' ');
    said = said != NULL ? said + 1 : "";
    network_ip_socket_address_t address;
    if (!parse(where, &address)) return format("error: %s is not ADDRESS:PORT", where);
    if (strcmp(verb, "tcp") == 0) return tcp_talk(&address, said);
    if (strcmp(verb, "udp") == 0) return udp_talk(&address, said);
    if (strcmp(verb, "listen") == 0) return tcp_listen(&address);
    return format("error: cannot %s", verb);
}
