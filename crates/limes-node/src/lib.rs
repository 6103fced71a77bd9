//! The data plane: routes, admission, HTTP server.
