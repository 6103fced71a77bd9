//! Error codes on the channel: the name of the case, and its text.

use crate::bindings::wasi::http::types::{
    DnsErrorPayload, ErrorCode, FieldSizePayload, TlsAlertReceivedPayload,
};
use alloc::string::{String, ToString};
use limes_channel::Failure;

macro_rules! plain {
    ($($case:ident = $name:literal)*) => {
        /// The code that a failure names; an unknown one is an internal error.
        pub(crate) fn code(failure: &Failure<'_>) -> ErrorCode {
            match failure.code {
                $($name => ErrorCode::$case,)*
                other => loaded(other, failure.detail),
            }
        }

        /// The name of a code, and its text.
        pub(crate) fn name(code: &ErrorCode) -> (&'static str, String) {
            match code {
                $(ErrorCode::$case => ($name, String::new()),)*
                other => loaded_name(other),
            }
        }
    };
}

plain! {
    DnsTimeout = "DNS-timeout"
    DestinationNotFound = "destination-not-found"
    DestinationUnavailable = "destination-unavailable"
    DestinationIpProhibited = "destination-IP-prohibited"
    DestinationIpUnroutable = "destination-IP-unroutable"
    ConnectionRefused = "connection-refused"
    ConnectionTerminated = "connection-terminated"
    ConnectionTimeout = "connection-timeout"
    ConnectionReadTimeout = "connection-read-timeout"
    ConnectionWriteTimeout = "connection-write-timeout"
    ConnectionLimitReached = "connection-limit-reached"
    TlsProtocolError = "TLS-protocol-error"
    TlsCertificateError = "TLS-certificate-error"
    HttpRequestDenied = "HTTP-request-denied"
    HttpRequestLengthRequired = "HTTP-request-length-required"
    HttpRequestMethodInvalid = "HTTP-request-method-invalid"
    HttpRequestUriInvalid = "HTTP-request-URI-invalid"
    HttpRequestUriTooLong = "HTTP-request-URI-too-long"
    HttpResponseIncomplete = "HTTP-response-incomplete"
    HttpResponseTimeout = "HTTP-response-timeout"
    HttpUpgradeFailed = "HTTP-upgrade-failed"
    HttpProtocolError = "HTTP-protocol-error"
    LoopDetected = "loop-detected"
    ConfigurationError = "configuration-error"
}

fn field() -> FieldSizePayload {
    FieldSizePayload { field_name: None, field_size: None }
}

/// The codes with a payload; of numbers only that there was one is told.
fn loaded(name: &str, detail: &str) -> ErrorCode {
    let text = (!detail.is_empty()).then(|| detail.to_string());
    match name {
        "DNS-error" => ErrorCode::DnsError(DnsErrorPayload { rcode: text, info_code: None }),
        "TLS-alert-received" => {
            ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload { alert_id: None, alert_message: text })
        }
        "HTTP-request-body-size" => ErrorCode::HttpRequestBodySize(detail.parse().ok()),
        "HTTP-request-header-section-size" => ErrorCode::HttpRequestHeaderSectionSize(detail.parse().ok()),
        "HTTP-request-header-size" => ErrorCode::HttpRequestHeaderSize(None),
        "HTTP-request-trailer-section-size" => ErrorCode::HttpRequestTrailerSectionSize(detail.parse().ok()),
        "HTTP-request-trailer-size" => ErrorCode::HttpRequestTrailerSize(field()),
        "HTTP-response-header-section-size" => ErrorCode::HttpResponseHeaderSectionSize(detail.parse().ok()),
        "HTTP-response-header-size" => ErrorCode::HttpResponseHeaderSize(field()),
        "HTTP-response-body-size" => ErrorCode::HttpResponseBodySize(detail.parse().ok()),
        "HTTP-response-trailer-section-size" => {
            ErrorCode::HttpResponseTrailerSectionSize(detail.parse().ok())
        }
        "HTTP-response-trailer-size" => ErrorCode::HttpResponseTrailerSize(field()),
        "HTTP-response-transfer-coding" => ErrorCode::HttpResponseTransferCoding(text),
        "HTTP-response-content-coding" => ErrorCode::HttpResponseContentCoding(text),
        _ => ErrorCode::InternalError(text),
    }
}

fn loaded_name(code: &ErrorCode) -> (&'static str, String) {
    let number = |bytes: &Option<u64>| bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
    let small = |bytes: &Option<u32>| bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match code {
        ErrorCode::DnsError(payload) => ("DNS-error", text(&payload.rcode)),
        ErrorCode::TlsAlertReceived(payload) => ("TLS-alert-received", text(&payload.alert_message)),
        ErrorCode::HttpRequestBodySize(bytes) => ("HTTP-request-body-size", number(bytes)),
        ErrorCode::HttpRequestHeaderSectionSize(bytes) => ("HTTP-request-header-section-size", small(bytes)),
        ErrorCode::HttpRequestHeaderSize(_) => ("HTTP-request-header-size", String::new()),
        ErrorCode::HttpRequestTrailerSectionSize(bytes) => {
            ("HTTP-request-trailer-section-size", small(bytes))
        }
        ErrorCode::HttpRequestTrailerSize(_) => ("HTTP-request-trailer-size", String::new()),
        ErrorCode::HttpResponseHeaderSectionSize(bytes) => {
            ("HTTP-response-header-section-size", small(bytes))
        }
        ErrorCode::HttpResponseHeaderSize(_) => ("HTTP-response-header-size", String::new()),
        ErrorCode::HttpResponseBodySize(bytes) => ("HTTP-response-body-size", number(bytes)),
        ErrorCode::HttpResponseTrailerSectionSize(bytes) => {
            ("HTTP-response-trailer-section-size", small(bytes))
        }
        ErrorCode::HttpResponseTrailerSize(_) => ("HTTP-response-trailer-size", String::new()),
        ErrorCode::HttpResponseTransferCoding(coding) => ("HTTP-response-transfer-coding", text(coding)),
        ErrorCode::HttpResponseContentCoding(coding) => ("HTTP-response-content-coding", text(coding)),
        ErrorCode::InternalError(message) => ("internal-error", text(message)),
        // The others are in the table above.
        _ => ("internal-error", String::new()),
    }
}
